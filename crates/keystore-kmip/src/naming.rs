//! Names: of objects on the server, so that each says whose it is, and of the places where keys are.

use model::Name;

use crate::index::Id;

const PREFIX: &str = "keylatch";

/// The name of an object: `keylatch/<store>/<instance>/<tenant>/<key id>/<attempt>`. KMIP wants names to be unique on a
/// server; the attempt makes them so, the instance tells stores of the same name apart. At most 190 bytes.
pub(crate) fn object(store: &Name, instance: &str, Id { tenant, key_id }: Id, attempt: u32) -> String {
    format!("{PREFIX}/{store}/{instance}/{tenant}/{key_id}/{attempt}")
}

/// The name of a key that is made to try something and destroyed at once.
pub(crate) fn throw_away(store: &Name, instance: &str, what: &str) -> String {
    format!("{PREFIX}/{store}/{instance}/throw-away/{what}")
}

/// Whose key the object of this name is, where it is one of this instance.
pub(crate) fn read(name: &str, instance: &str) -> Option<Id> {
    let mut parts = name.split('/');
    let mut next = || parts.next();
    let (PREFIX, _, of, tenant, key_id, _, None) = (next()?, next()?, next()?, next()?, next()?, next()?, next())
    else {
        return None;
    };
    let id = Id { tenant: tenant.parse().ok()?, key_id: key_id.parse().ok()? };
    (of == instance).then_some(id)
}

/// What guards a key that is not yet authorised, in the words of events: KMIP shows no wrapping key, only a state.
pub(crate) fn pre_active() -> Name {
    constant("kmip-state-pre-active")
}

/// What guards a key that is or was active.
pub(crate) fn active() -> Name {
    constant("kmip-state-active")
}

#[expect(clippy::expect_used, reason = "both constants are names; a test reads them")]
fn constant(name: &str) -> Name {
    name.parse().expect("a name")
}

#[cfg(test)]
mod tests {
    use model::TenantId;

    use super::*;

    #[test]
    fn a_name_says_whose_the_object_is() {
        assert_ne!(pre_active(), active());
        let store: Name = "s".repeat(64).parse().unwrap();
        let key_id = "01930000-0000-7000-8000-00000000000a".parse().unwrap();
        let id = Id { tenant: TenantId::from_bytes([7; 32]), key_id };
        let name = object(&store, "0011223344556677", id, u32::MAX);
        assert!(name.len() <= 200, "{} bytes: what servers say is cut at 200", name.len());
        assert_eq!(read(&name, "0011223344556677"), Some(id));
        assert_eq!(read(&name, "another"), None);
        for other in ["", "keylatch", "a/b/c/d/e/f", &format!("{name}/x"), &format!("x{name}")] {
            assert_eq!(read(other, "0011223344556677"), None, "{other}");
        }
        assert_eq!(read(&throw_away(&store, "0011223344556677", "x"), "0011223344556677"), None);
    }
}
