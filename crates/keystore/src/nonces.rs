//! Counting encryptions: a key may make 2^32 of them (SP 800-38D, 8.3), over all restarts.
//!
//! A commit for each would make encryption as slow as the disk. So a store reserves encryptions, durably, in blocks, and
//! uses them up in memory. What is left of a block when the process ends is lost: a key can be restarted, and used after
//! it, 65,536 times at the most unfortunate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::{KeyId, TenantId};

use crate::ciphertext::ENCRYPTIONS_MAX;

/// Encryptions in a block.
pub const BLOCK: u32 = 1 << 16;

/// Blocks that a key has.
pub const BLOCKS_MAX: u32 = 1 << 16;

const _: () = assert!(BLOCK as u64 * BLOCKS_MAX as u64 == ENCRYPTIONS_MAX);

/// Keys whose blocks are remembered. Beyond it all are forgotten at once: that costs each a block, and bounds the memory.
const KEYS_MAX: usize = 1 << 16;

/// What is left of the blocks that were reserved.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<HashMap<(TenantId, KeyId), u32>>);

impl Nonces {
    /// Takes one encryption; `false` where a block has to be reserved first.
    pub fn take(&self, key: (TenantId, KeyId)) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left.get_mut(&key) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Adds a block that was reserved.
    pub fn add(&self, key: (TenantId, KeyId)) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= KEYS_MAX && !left.contains_key(&key) {
            left.clear();
        }
        left.insert(key, BLOCK);
    }
}
