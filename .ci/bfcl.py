#!/usr/bin/env python3
"""Every function that the Berkeley Function Calling Leaderboard documents, as a tool.

    bfcl.py --oracles DIR --lower PATH/TO/lower [--wheel bfcl_eval.whl]

Downloads the `bfcl-eval` wheel unless one is given, takes each function doc of its data, raw (with Python's and Java's
names of types) and as the leaderboard itself sends it, lowers a request with it through the example `lower` (cargo build
-p translate --example lower), and asks oracle_gemini_request.py in DIR whether Google's API would take the result on each
API and model generation. Then the same for schemas that are known to trip converters. Exit 1 when one is refused.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import zipfile

MODELS = ["gemini-2.5-flash", "gemini-3-flash-preview", "gemini-2.0-flash"]
CODE_ASSIST_MODELS = [*MODELS, "claude-sonnet-4-6", "gpt-oss-120b-medium"]
# As bfcl_eval.constants.type_mappings.GORILLA_TO_OPENAPI has it.
TYPES = {
    "integer": "integer", "number": "number", "float": "number", "string": "string", "boolean": "boolean", "bool": "boolean",
    "array": "array", "list": "array", "dict": "object", "object": "object", "tuple": "array", "any": "string", "byte": "integer",
    "short": "integer", "long": "integer", "double": "number", "char": "string", "ArrayList": "array", "Array": "array",
    "HashMap": "object", "Hashtable": "object", "Queue": "array", "Stack": "array", "Any": "string", "String": "string",
    "Bigint": "integer",
}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/N"}}}}
HARD = {
    "integer enum": {"enum": [1, 2], "type": "integer"},
    "boolean enum": {"enum": [True], "type": "boolean"},
    "mixed enum": {"enum": ["a", 1, 2.5, None, False]},
    "empty text in an enum": {"type": "string", "enum": ["", "a"]},
    "const": {"const": "x"},
    "number const": {"const": 7},
    "allOf": {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]},
    "discriminator": {"oneOf": [{"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]} for k in "ab"], "discriminator": {"propertyName": "k"}},
    "boolean schema": True,
    "never": False,
    "anything": {},
    "nullable": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    "several types": {"type": ["string", "integer", "null"]},
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    "array without items": {"type": "array"},
    "map": {"type": "object", "additionalProperties": {"type": "number"}},
    "patterns": {"type": "object", "patternProperties": {"^x": {"type": "string"}}},
    "if": {"type": "object", "properties": {"a": {"type": "string"}}, "if": {"required": ["a"]}, "then": {"required": ["b"]}},
    "recursion": {"$ref": "#/$defs/N"},
    "deep": None,
}


def hard_schemas():
    deep = {"type": "string"}
    for _ in range(24):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    for name, schema in {**HARD, "deep": deep}.items():
        yield name, {"type": "object", "properties": {"p": schema}, "required": ["p"], "$defs": {"N": NODE}}
    yield "recursion at the root", {"$ref": "#/$defs/N", "$defs": {"N": NODE}}
    yield "alternatives at the root", {"anyOf": [{"type": "object", "properties": {k: {"type": "string"}}} for k in "ab"]}
    yield "no parameters", {"type": "object", "properties": {}}
    yield "none at all", None


def docs(wheel):
    """The function docs of a wheel, each once."""
    seen = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if "/data/" not in name or not name.endswith(".json") or "possible_answer" in name:
                continue
            for line in archive.read(name).decode().splitlines():
                if not line.strip():
                    continue
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                functions = entry.get("function", [entry] if "parameters" in entry else [])
                functions = functions if isinstance(functions, list) else [functions]
                for held_out in (entry.get("missed_function") or {}).values() if isinstance(entry.get("missed_function"), dict) else []:
                    functions = functions + [f for f in held_out if isinstance(f, dict)]
                for function in functions:
                    text = json.dumps(function, sort_keys=True)
                    if isinstance(function, dict) and "name" in function and text not in seen:
                        seen.add(text)
                        yield function


def as_sent(schema):
    """The leaderboard's own translation of its types."""
    if isinstance(schema, list):
        return [as_sent(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: TYPES.get(value, value) if key == "type" and isinstance(value, str) else as_sent(value) for key, value in schema.items()}


def request(model, name, schema, description):
    function = {"name": name, "description": description}
    if schema is not None:
        function["parameters"] = schema
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], "tools": [{"type": "function", "function": function}]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", required=True)
    parser.add_argument("--lower", required=True)
    parser.add_argument("--wheel")
    options = parser.parse_args()
    sys.path.insert(0, options.oracles)
    from oracle_gemini_request import check

    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel
        if not wheel:
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder, "bfcl-eval"], check=True)
            wheel = glob.glob(os.path.join(folder, "*.whl"))[0]
        functions = list(docs(wheel))
    assert functions, "no function docs in the wheel"
    cases = []
    for function in functions:
        description = function.get("description", "")
        parameters = function.get("parameters")
        cases.append((function["name"], parameters, description))
        cases.append((function["name"], as_sent(parameters), description))
    cases += [("f", schema, name) for name, schema in hard_schemas()]
    requests = [(case, model, request(model, *case)) for case in cases for model in CODE_ASSIST_MODELS]
    lines = "\n".join(json.dumps(body) for _, _, body in requests) + "\n"
    answers = subprocess.run([options.lower], input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(answers) == len(requests), f"{len(answers)} answers for {len(requests)} requests"
    refused = 0
    checked = 0
    for (case, model, _), answer in zip(requests, answers):
        answer = json.loads(answer)
        problems = []
        if "error" in answer:
            problems.append(("gateway", answer["error"]))
        for name, api in (("gemini_api", "googleai"), ("vertex", "vertex"), ("code_assist", "vertex")):
            if "error" in answer or (name != "code_assist" and model not in MODELS):
                continue
            checked += 1
            verdict = check(answer[name], "generateContent", api, "pypi" if api == "googleai" else "vertex", model)
            problems += [(name, item) for item in verdict.errors]
            declared = answer[name]["tools"][0]["functionDeclarations"][0]
            wanted = case[1] and (case[1].get("properties") or "$ref" in case[1] or "anyOf" in case[1])
            if wanted and not ({"parameters", "parametersJsonSchema"} & set(declared)):
                problems.append((name, "the parameters are lost"))
        if problems:
            refused += 1
            if refused <= 20:
                print(f"REFUSED {case[0]} for {model}: {problems[:3]}\n  schema: {json.dumps(case[1])[:600]}")
    print(f"{len(functions)} function docs, {len(requests)} requests, {checked} of Google's requests, {refused} refused")
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
