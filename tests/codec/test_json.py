# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON schemas, their examples, and our programs' output must agree.

schemas/examples/KIND-valid-*.json are accepted by the schema and by our reader, KIND-invalid-*.json by neither. Where a valid
example is what we print ourselves, it is compared byte by byte: VBMQ_UPDATE_EXPECTED=1 writes them anew.
"""
import copy
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))
from vbmqtest.documents import validator  # noqa: E402

TOOL = os.environ["JSON_TOOL"]
SCHEMAS = pathlib.Path(os.environ["SCHEMAS"])
EXAMPLES = SCHEMAS / "examples"
KINDS = ["snapshot", "plan", "explain", "report", "undo", "stats"]
READ = ["snapshot", "plan", "undo"]  # the others are only written

schemas = {f.name.split(".")[0]: json.loads(f.read_text()) for f in sorted(SCHEMAS.glob("*.schema.json"))}


def tool(*args, fails=False):
    done = subprocess.run([TOOL, *map(str, args)], capture_output=True, check=False)
    assert (done.returncode == 1) if fails else (done.returncode == 0), done.stderr.decode()
    return done.stderr.decode() if fails else done.stdout


def examples(kind, which):
    found = sorted(EXAMPLES.glob(f"{kind}-{which}-*.json"))
    assert found, f"no {which} example of {kind}"
    return found


def cases(which, kinds=KINDS):
    return [pytest.param(k, f, id=f.stem) for k in kinds for f in examples(k, which)]


@pytest.mark.parametrize("kind", schemas)
def test_schema_is_one(kind):
    jsonschema.Draft202012Validator.check_schema(schemas[kind])
    assert schemas[kind]["$id"] == f"urn:vbmq:schema:{kind}:1"


def test_all_kinds_have_a_schema():
    assert set(schemas) == {*KINDS, "common", "policy", "rebalance"}


@pytest.mark.parametrize("kind,path", cases("valid"))
def test_valid(kind, path):
    validator(kind).validate(json.loads(path.read_text()))
    if kind in READ:
        printed = tool("check", kind, path)
        validator(kind).validate(json.loads(printed))


@pytest.mark.parametrize("kind,path", cases("invalid"))
def test_invalid(kind, path):
    text = path.read_text()
    try:
        doc = json.loads(text)
    except ValueError:
        doc = None
    if doc is not None:
        assert not validator(kind).is_valid(doc), "the schema accepts it"
    if kind in READ:
        message = tool("check", kind, path, fails=True)
        assert path.name in message


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_print(kind, tmp_path):
    printed = tool("model", kind)
    validator(kind).validate(json.loads(printed))
    expected = EXAMPLES / f"{kind}-valid-everything.json"
    if os.environ.get("VBMQ_UPDATE_EXPECTED"):
        expected.write_bytes(printed)
    assert printed == expected.read_bytes()
    if kind in READ:
        copied = tmp_path / "copy.json"
        copied.write_bytes(printed)
        assert tool("check", kind, copied) == printed


@pytest.mark.parametrize("kind", ["plan", "explain", "report"])
@pytest.mark.parametrize("path", [pytest.param(p, id=p.stem) for p in examples("snapshot", "valid")])
def test_what_the_planner_makes(kind, path):
    doc = json.loads(tool("make", kind, path))
    validator(kind).validate(doc)
    assert len(doc["plan_id"]) == 32


def places(value, path=()):
    """Every place in a document, from the leaves up."""
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from places(value[i], (*path, i))
    if path:
        yield path


def at(doc, path):
    for part in path:
        doc = doc[part]
    return doc


REFERENCES = ["is none of the plan's domains", "host.distances: has 0 elements", "host.distances[0]: has 0 elements"]


@pytest.mark.parametrize("kind", READ)
def test_schema_and_reader_are_equally_strict(kind, tmp_path):
    """Each value replaced by one of each other type, and each object with one key more: both refuse, or both accept."""
    document = json.loads((EXAMPLES / f"{kind}-valid-everything.json").read_text())
    check = validator(kind)
    seen, tried = set(), []
    for path in places(document):
        shape = tuple("*" if isinstance(p, int) else p for p in path)
        if shape in seen:
            continue
        seen.add(shape)
        old = at(document, path)
        others = [None, True, "x y", -7, 1.5, {}, [], {"unknown key": 1}]
        if isinstance(old, dict):
            others.append({**old, "unknown key": 1})
            others += [{k: v for k, v in old.items() if k != gone} for gone in old]
        for new in others:
            if type(new) is type(old) and new == old:
                continue
            bad = copy.deepcopy(document)
            at(bad, path[:-1])[path[-1]] = new
            file = tmp_path / f"{len(tried)}.json"
            file.write_text(json.dumps(bad))
            tried.append((path, new, check.is_valid(bad), file))
    verdicts = tool("judge", kind, *(t[3] for t in tried)).decode().splitlines()
    assert len(verdicts) == len(tried) > 150
    differences = [(*t, v) for t, v in zip(tried, verdicts) if t[2] != (v == "ok")]
    # What only the reader can see: references between parts of the document.
    unseen = [d for d in differences if not (d[2] and any(t in d[4] for t in REFERENCES))]
    assert not unseen


def test_policy_schema_has_the_keys_of_the_reader():
    document = json.loads((EXAMPLES / "snapshot-valid-everything.json").read_text())
    assert set(schemas["policy"]["properties"]) == set(document["policy"])


def canonical(doc):
    return json.dumps(doc, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_plan_id_is_the_documented_digest(tmp_path):
    """docs/documents.md, computed by other means: others can name a plan, too."""
    least = EXAMPLES / "snapshot-valid-one-domain.json"
    with_policy = tmp_path / "policy.json"
    with_policy.write_text(json.dumps({**json.loads(least.read_text()), "policy": {}}))
    snapshot = json.loads(tool("check", "snapshot", with_policy))
    policy = snapshot.pop("policy")
    expected = hashlib.sha256(canonical(snapshot) + b"\n" + canonical(policy)).hexdigest()[:32]
    assert json.loads(tool("make", "plan", least))["plan_id"] == expected


def test_shipped_configuration_comes_from_the_table():
    shipped = SCHEMAS.parent / "daemon" / "data" / "vbmqd.conf"
    printed = tool("conf")
    if os.environ.get("VBMQ_UPDATE_EXPECTED"):
        shipped.write_bytes(printed)
    assert printed == shipped.read_bytes()
