# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judges documents by the schemas of the tree, with the jsonschema of Debian 12 (4.10) and of 13 (4.19)."""
import json
import pathlib

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "schemas"


def validator(kind):
    """Of schemas/KIND.schema.json, whose references lie beside it."""
    schemas = {p.name.split(".")[0]: json.loads(p.read_text()) for p in SCHEMAS.glob("*.schema.json")}
    try:
        import referencing
    except ImportError:
        store = {s["$id"]: s for s in schemas.values()}
        resolver = jsonschema.RefResolver(base_uri=schemas[kind]["$id"], referrer=schemas[kind], store=store)
        return jsonschema.Draft202012Validator(schemas[kind], resolver=resolver)
    registry = referencing.Registry().with_resources(
        (s["$id"], referencing.Resource.from_contents(s)) for s in schemas.values())
    return jsonschema.Draft202012Validator(schemas[kind], registry=registry)


def validate(document, kind):
    validator(kind).validate(document)
