# SPDX-License-Identifier: LGPL-2.1-or-later
"""Judges documents by the schemas of the tree."""
import json
import pathlib

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent.parent.parent / "schemas"


def validate(document, kind):
    """document must be valid for schemas/KIND.schema.json, whose references lie beside it."""
    schemas = {p.name.split(".")[0]: json.loads(p.read_text()) for p in SCHEMAS.glob("*.schema.json")}
    store = {s["$id"]: s for s in schemas.values()}
    resolver = jsonschema.RefResolver(base_uri=schemas[kind]["$id"], referrer=schemas[kind], store=store)
    jsonschema.Draft202012Validator(schemas[kind], resolver=resolver).validate(document)
