#!/usr/bin/env python3
"""Does the project know every field of OpenAI's published request schema?

    openai_fields.py SCHEMA [--write]

SCHEMA is OpenAI's published OpenAPI document, or the part of it that has components.schemas. Compares the paths of
CreateChatCompletionRequest with translate/tests/openai_fields.txt, which a test holds against docs/openai-compatibility.md
and against the code. --write rewrites the list. Exit 1 when they differ.
"""
import argparse
import json
import pathlib
import sys

LIST = pathlib.Path(__file__).resolve().parent.parent / "translate/tests/openai_fields.txt"
# What is taken or left as a whole: nothing in it is looked at.
WHOLE = {"metadata", "logit_bias", "moderation", "prediction", "prompt_cache_options", "web_search_options",
         "functions[].parameters", "tools[].function.parameters", "response_format.json_schema.schema"}


def paths(schemas, node, path=""):
    """The paths of everything that a schema lets in."""
    if "$ref" in node:
        node = schemas[node["$ref"].rsplit("/", 1)[1]]
        yield from paths(schemas, node, path)
        return
    for key in ("allOf", "anyOf", "oneOf"):
        for alternative in node.get(key, []):
            yield from paths(schemas, alternative, path)
    if "items" in node:
        yield from paths(schemas, node["items"], path + "[]")
    for name, inner in node.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        yield at
        if at not in WHOLE and not name.startswith("prompt_cache_breakpoint"):
            yield from paths(schemas, inner, at)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schema")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    schemas = json.loads(pathlib.Path(options.schema).read_text())["components"]["schemas"]
    published = sorted(set(paths(schemas, schemas["CreateChatCompletionRequest"])))
    if options.write:
        LIST.write_text("".join(path + "\n" for path in published))
    known = LIST.read_text().split()
    for path in sorted(set(published) ^ set(known)):
        print(f"{path}: {'is not in ' + LIST.name if path in published else 'is not OpenAI' + chr(39) + 's any more'}")
    print(f"{len(published)} published, {len(known)} known")
    sys.exit(0 if published == known else 1)


if __name__ == "__main__":
    main()
