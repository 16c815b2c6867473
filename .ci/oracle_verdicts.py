#!/usr/bin/env python3
"""Do the fake Google and an independent oracle agree on which Gemini requests are good?

    oracle_verdicts.py --oracles DIR --binary target/debug/fake-google [--seed N] [--count N] [--fixtures DIR]

DIR holds oracle_gemini_request.py. The script starts the binary, makes good and mutated requests (seeded) for the Gemini
API, Vertex AI and Code Assist, and demands that both give the same verdict on each. With --fixtures it also sends every
recorded request that Google answered with 2xx. Exit 1 on any disagreement.

Function calls carry documented dummy signatures: whether a signature is genuine only the fake can know.
"""
import argparse
import copy
import http.client
import json
import os
import random
import subprocess
import sys
import urllib.parse

DUMMY = "skip_thought_signature_validator"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
MODELS = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite", "gemini-3-pro-preview", "gemini-3-flash-preview"]
CODE_ASSIST_MODELS = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-3.1-pro-low"]
METHODS = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")


class Fake:
    """The binary, and one connection to it."""

    def __init__(self, binary):
        options = ["--accept-any-model", "--accept-any-signature", "--penalties"]
        self.process = subprocess.Popen([binary, *options], stdout=subprocess.PIPE, text=True)
        self.address = urllib.parse.urlsplit(self.process.stdout.readline().strip()).netloc
        self.connection = http.client.HTTPConnection(self.address, timeout=60)
        form = {
            "client_id": "fake-client.apps.googleusercontent.com",
            "client_secret": "fake-client-secret",
            "grant_type": "refresh_token",
            "refresh_token": "1//fake-refresh-token-1",
        }
        status, body = self.post("/token", urllib.parse.urlencode(form), {})
        assert status == 200, body
        self.bearer = {"Authorization": "Bearer " + json.loads(body)["access_token"]}

    def post(self, path, body, headers):
        self.connection.request("POST", path, body.encode(), {"Content-Type": "application/json", **headers})
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def verdict(self, upstream, model, method, body):
        """(accepted, answer); anything but 200 and 400 is no verdict."""
        verb = method + ("?alt=sse" if method == "streamGenerateContent" else "")
        name = urllib.parse.quote(model, safe="-._")
        headers = self.bearer
        if upstream == "googleai":
            path, headers = f"/v1beta/models/{name}:{verb}", {"x-goog-api-key": "AIzaFakeGoogleApiKey"}
        elif upstream == "vertex":
            path = f"/v1/projects/fake-project-1/locations/global/publishers/google/models/{name}:{verb}"
        else:
            path, body = f"/v1internal:{verb}", {"project": "fake-project-1", "model": model, "request": body}
        status, answer = self.post(path, json.dumps(body), headers)
        return {200: True, 400: False}.get(status), f"{status} {answer}"

    def stop(self):
        self.process.terminate()
        self.process.wait()


# ---------------------------------------------------------------- good requests


def scalar_schema(rng, upper):
    kind = rng.choice(["string", "integer", "number", "boolean"])
    schema = {"type": kind.upper() if upper else kind, "description": rng.choice(["a value", "what is meant"])}
    if kind == "string" and rng.random() < 0.3:
        schema["enum"] = ["red", "green", "blue"]
    if kind == "string" and rng.random() < 0.2:
        schema["nullable"] = True
    if kind in ("integer", "number") and rng.random() < 0.4:
        schema |= {"minimum": 1, "maximum": 10}
    return schema


def object_schema(rng, upper=True, depth=0):
    properties = {name: scalar_schema(rng, upper) for name in rng.sample(["city", "unit", "count", "when", "why"], 3)}
    if depth < 2 and rng.random() < 0.4:
        properties["place"] = object_schema(rng, upper, depth + 1)
    if rng.random() < 0.4:
        properties["tags"] = {"type": "ARRAY" if upper else "array", "items": scalar_schema(rng, upper)}
    if rng.random() < 0.2:
        properties["either"] = {"anyOf": [scalar_schema(rng, upper), scalar_schema(rng, upper)]}
    return {
        "type": "OBJECT" if upper else "object",
        "properties": properties,
        "required": rng.sample(sorted(properties), rng.randint(0, 2)),
    }


def declaration(rng, name):
    declared = {"name": name, "description": "does " + name}
    form = rng.random()
    if form < 0.5:
        declared["parameters"] = object_schema(rng, rng.random() < 0.7)
    elif form < 0.8:
        schema = object_schema(rng, upper=False)
        declared["parametersJsonSchema"] = schema | {"additionalProperties": False, "$schema": "x"}
    return declared


def user_parts(rng):
    parts = [{"text": rng.choice(["What is the weather in Paris?", "Hello", "Zähle bis drei, bitte. 😀", "Look:"])}]
    if rng.random() < 0.2:
        parts.append({"inlineData": {"mimeType": "image/png", "data": PNG}})
    if rng.random() < 0.1:
        parts.append({"fileData": {"mimeType": "video/mp4", "fileUri": "https://youtu.be/x"}})
    return parts


def tool_step(rng, names):
    """A turn of calls and the turn that answers them."""
    called = rng.sample(names, rng.randint(1, min(2, len(names))))
    with_ids = rng.random() < 0.5
    calls, answers = [], []
    for nth, name in enumerate(called):
        call, answer = {"name": name, "args": {"city": "Paris"}}, {"name": name, "response": {"result": "ok"}}
        if with_ids:
            call["id"] = answer["id"] = f"call_{rng.randrange(10**7)}_{nth}"
        part = {"functionCall": call}
        if nth == 0:
            part["thoughtSignature"] = DUMMY
        calls.append(part)
        answers.append({"functionResponse": answer})
    role = rng.choice(["user", "user", "function"])
    return [{"role": "model", "parts": calls}, {"role": role, "parts": answers}]


def thinking(rng, model):
    config = {"includeThoughts": rng.random() < 0.5}
    if model.startswith("gemini-3"):
        if rng.random() < 0.7:
            config["thinkingLevel"] = rng.choice(["LOW", "HIGH", "low"])
    elif rng.random() < 0.7:
        config["thinkingBudget"] = rng.choice([-1, 512, 1024, 8192])
    return config


def settings(rng, model, has_tools):
    config = {}
    choices = {
        "temperature": lambda: rng.choice([0, 0.7, 1, 2]),
        "topP": lambda: rng.choice([0.1, 0.95, 1]),
        "topK": lambda: rng.choice([1, 40]),
        "maxOutputTokens": lambda: rng.choice([1, 256, "1024"]),
        "candidateCount": lambda: rng.choice([1, 2]),
        "stopSequences": lambda: rng.choice([["END"], ["a", "b", "c", "d", "e"]]),
        "seed": lambda: rng.randrange(2**31),
        "presencePenalty": lambda: rng.choice([-2, 0.5, 1.9]),
        "thinkingConfig": lambda: thinking(rng, model),
        "responseModalities": lambda: ["TEXT"],
        "mediaResolution": lambda: "MEDIA_RESOLUTION_LOW",
    }
    for name in rng.sample(sorted(choices), rng.randint(0, 4)):
        config[name] = choices[name]()
    if rng.random() < 0.15:
        config |= {"responseLogprobs": True, "logprobs": rng.choice([0, 5, 20])}
    if rng.random() < 0.25 and (not has_tools or model.startswith("gemini-3")):
        config["responseMimeType"] = "application/json"
        schema = rng.random()
        if schema < 0.4:
            config["responseSchema"] = object_schema(rng)
        elif schema < 0.8:
            config["responseJsonSchema"] = object_schema(rng, upper=False)
    return config


def good(rng, model):
    contents = [{"role": "user", "parts": user_parts(rng)}]
    names = rng.sample(["get_weather", "find.place", "send-mail", "a1", "_x", "list_files"], rng.randint(1, 3))
    has_tools = rng.random() < 0.5
    for _ in range(rng.randint(0, 3)):
        if has_tools and rng.random() < 0.6:
            contents += tool_step(rng, names)
        else:
            said = {"text": "As I said."}
            if rng.random() < 0.3:
                said["thoughtSignature"] = DUMMY
            contents += [{"role": "model", "parts": [said]}, {"role": "user", "parts": user_parts(rng)}]
    request = {"contents": contents}
    if rng.random() < 0.4:
        request["systemInstruction"] = {"parts": [{"text": "Be brief."}, {"text": "Be kind."}][: rng.randint(1, 2)]}
    if has_tools:
        declared = [declaration(rng, name) for name in names]
        split = rng.random() < 0.3
        request["tools"] = [{"functionDeclarations": [d]} for d in declared] if split else [{"functionDeclarations": declared}]
        if rng.random() < 0.5:
            mode = rng.choice(["AUTO", "ANY", "NONE", "any"])
            calling = {"mode": mode}
            if mode.upper() == "ANY" and rng.random() < 0.5:
                calling["allowedFunctionNames"] = rng.sample(names, 1)
            request["toolConfig"] = {"functionCallingConfig": calling}
    config = settings(rng, model, has_tools)
    if config:
        request["generationConfig"] = config
    if rng.random() < 0.2:
        request["safetySettings"] = [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
            {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"},
        ]
    return request


# ---------------------------------------------------------------- mutations


def objects(value, path=()):
    """Every object of a request with its path, but not what functions are called with or answer."""
    if isinstance(value, dict):
        yield path, value
        for name, inner in value.items():
            if name not in ("args", "response", "parametersJsonSchema", "responseJsonSchema"):
                yield from objects(inner, (*path, name))
    elif isinstance(value, list):
        for nth, inner in enumerate(value):
            yield from objects(inner, (*path, nth))


def parts_with(request, name):
    return [p for c in request["contents"] for p in c.get("parts", []) if isinstance(p, dict) and name in p]


def turns_with(request, name):
    return [c for c in request["contents"] if any(name in p for p in c.get("parts", []))]


def schemas(request):
    found = [o for path, o in objects(request) if path and path[-1] in ("parameters", "responseSchema")]
    return found + [o for path, o in objects(request) if len(path) > 1 and path[-2] == "properties"]


def unknown_field(rng, r):
    rng.choice([o for p, o in objects(r) if not p or p[-1] != "properties"])[rng.choice(["strict", "x", "$comment"])] = 1


def renamed_field(rng, r):
    target = rng.choice([o for p, o in objects(r) if o and (not p or p[-1] != "properties")])
    name = rng.choice(sorted(target))
    target[name + "s"] = target.pop(name)


def dropped_field(rng, r):
    target = rng.choice([o for _, o in objects(r) if o])
    target.pop(rng.choice(sorted(target)))


def wrong_type(rng, r):
    target = rng.choice([o for _, o in objects(r) if o])
    target[rng.choice(sorted(target))] = rng.choice([17.5, True, "abc", [], {}, [1], None, {"a": 1}])


def dropped_response(rng, r):
    turn = rng.choice(turns_with(r, "functionResponse"))
    turn["parts"].pop()
    if not turn["parts"] and rng.random() < 0.7:
        r["contents"].remove(turn)


def extra_response(rng, r):
    turn = rng.choice(turns_with(r, "functionResponse"))
    turn["parts"].append(copy.deepcopy(turn["parts"][0]))


def swapped_turns(rng, r):
    if len(r["contents"]) < 2:
        raise IndexError
    nth = rng.randrange(len(r["contents"]) - 1)
    r["contents"][nth], r["contents"][nth + 1] = r["contents"][nth + 1], r["contents"][nth]


def dropped_turn(rng, r):
    r["contents"].pop(rng.randrange(len(r["contents"])))


def missing_signature(rng, r):
    rng.choice([p for p in parts_with(r, "functionCall") if "thoughtSignature" in p]).pop("thoughtSignature")


def response_of_another_name(rng, r):
    rng.choice(parts_with(r, "functionResponse"))["functionResponse"]["name"] = "other"


def response_of_another_id(rng, r):
    rng.choice(parts_with(r, "functionResponse"))["functionResponse"]["id"] = "call_other"


def response_not_an_object(rng, r):
    rng.choice(parts_with(r, "functionResponse"))["functionResponse"]["response"] = rng.choice(["text", [1], None])


def bad_role(rng, r):
    rng.choice(r["contents"])["role"] = rng.choice(["assistant", "system", "tool", "", "function", None, "model", "user"])


def bad_enum(rng, r):
    target, name, value = rng.choice(
        [(r.setdefault("toolConfig", {}).setdefault("functionCallingConfig", {}), "mode", "SOMETIMES")]
        + [(s, "type", rng.choice(["file", "OBJEKT", ["string", "null"], 99, "null"])) for s in schemas(r)]
        + [(s, "category", "HARM_CATEGORY_FUN") for s in r.get("safetySettings", [])]
    )
    target[name] = value


def bad_range(rng, r):
    name, values = rng.choice([
        ("temperature", [-0.1, 2.1, 2.0, "2"]), ("topP", [1.01, -1, 1]), ("topK", [0, 1001, -3]),
        ("candidateCount", [0, 9]), ("maxOutputTokens", [0, -1, 2**31, 2**31 - 1]), ("presencePenalty", [2, -2.5]),
        ("frequencyPenalty", [2, -2]), ("seed", [2**31, -5, 1.5, "12", "x"]), ("logprobs", [21, 3]),
    ])
    r.setdefault("generationConfig", {})[name] = rng.choice(values)


def bad_base64(rng, r):
    parts = parts_with(r, "inlineData") or parts_with(r, "thoughtSignature")
    part = rng.choice(parts)
    value = rng.choice(["not base64!", "abcde", "ab-_", "ab==", "", "a"])
    if "inlineData" in part:
        part["inlineData"]["data"] = value
    else:
        part["thoughtSignature"] = value


def empty_parts(rng, r):
    rng.choice(r["contents"] + [r[k] for k in ("systemInstruction",) if k in r])["parts"] = rng.choice([[], None, [{}]])


def empty_contents(rng, r):
    r["contents"] = rng.choice([[], None, {}])


def bad_name(rng, r):
    declared = rng.choice(r["tools"])["functionDeclarations"]
    name = rng.choice(["1abc", "a b", "", "ä", "a/b", "x" * 65, "x" * 64, "a:b", "a.b-c_d", "default_api:f", "a\n"])
    rng.choice(declared)["name"] = name


def duplicate_name(rng, r):
    r["tools"].append(copy.deepcopy(rng.choice(r["tools"])))


def required_undefined(rng, r):
    rng.choice([s for s in schemas(r)])["required"] = rng.choice([["nowhere"], [], ["city"]])


def array_without_items(rng, r):
    target = rng.choice(schemas(r))
    target.update(rng.choice([{"type": "ARRAY"}, {"items": {"type": "STRING"}}, {"type": "array", "items": {}}]))


def schema_keyword(rng, r):
    word = rng.choice(["const", "$ref", "oneOf", "additionalProperties", "exclusiveMinimum", "examples", "default",
                       "title", "minItems", "pattern", "propertyOrdering", "example", "ref", "defs", "format"])
    value = {"oneOf": [], "minItems": rng.choice([1, "2", "x"]), "propertyOrdering": ["city"], "defs": {}}.get(word, "x")
    rng.choice(schemas(r))[word] = value


def enum_value(rng, r):
    rng.choice(schemas(r))["enum"] = rng.choice([["a", ""], [1, 2], ["a", "b"], "a", []])


def parameters_not_object(rng, r):
    rng.choice(r["tools"])["functionDeclarations"][0]["parameters"] = rng.choice(
        [{"type": "STRING"}, {}, {"type": 6, "properties": {}}, {"properties": {"a": {"type": "STRING"}}}, {"type": 1}])


def both_parameters(rng, r):
    declared = rng.choice(r["tools"])["functionDeclarations"][0]
    declared["parameters"] = {"type": "OBJECT"}
    declared["parametersJsonSchema"] = {"type": "object"}


def allowed_names(rng, r):
    r["toolConfig"] = {"functionCallingConfig": {
        "mode": rng.choice(["ANY", "AUTO", "VALIDATED", 2, 1]), "allowedFunctionNames": rng.choice([["nobody"], ["a1"], []])}}


def any_without_functions(rng, r):
    r.pop("tools", None)
    r["toolConfig"] = {"functionCallingConfig": {"mode": "ANY"}}


def stop_sequences(rng, r):
    r.setdefault("generationConfig", {})["stopSequences"] = rng.choice([list("abcdef"), [""], ["a", ""], "END", [1]])


def response_format(rng, r):
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    r.setdefault("generationConfig", {}).update(rng.choice([
        {"responseMimeType": "application/xml"}, {"responseSchema": schema, "responseMimeType": "text/plain"},
        {"responseSchema": schema, "responseJsonSchema": schema, "responseMimeType": "application/json"},
        {"responseMimeType": "application/json"}, {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
        {"responseSchema": schema},
    ]))


def bad_thinking(rng, r):
    r.setdefault("generationConfig", {})["thinkingConfig"] = rng.choice([
        {"thinkingBudget": 0}, {"thinkingBudget": 100}, {"thinkingBudget": 40000}, {"thinkingBudget": -2},
        {"thinkingBudget": 1024, "thinkingLevel": "LOW"}, {"thinkingLevel": "ULTRA"}, {"thinkingLevel": "HIGH"},
        {"thinkingBudget": "1024"}, {"thinkingBudget": 24577}, {"thinkingBudget": 511}, {"includeThoughts": "yes"},
    ])


def safety(rng, r):
    r["safetySettings"] = rng.choice([
        [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}] * 2, [{"threshold": "OFF"}],
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}, [{"category": 7, "threshold": "block_none"}],
    ])


def cached_content(rng, r):
    r["cachedContent"] = rng.choice(["cachedContents/x", ""])


def snake_case(rng, r):
    target = rng.choice([o for p, o in objects(r) if o and (not p or p[-1] != "properties")])
    name = rng.choice(sorted(target))
    snake = "".join("_" + c.lower() if c.isupper() else c for c in name)
    target[snake] = target[name] if rng.random() < 0.3 else target.pop(name)


def two_kinds(rng, r):
    rng.choice(rng.choice(r["contents"])["parts"])["text"] = "and this"


def object_for_list(rng, r):
    lists = [(o, k) for _, o in objects(r) for k, v in o.items() if isinstance(v, list) and v]
    target, name = rng.choice(lists)
    target[name] = target[name][0]


def list_for_object(rng, r):
    target = rng.choice([o for _, o in objects(r) if any(isinstance(v, dict) for v in o.values())])
    name = rng.choice(sorted(k for k, v in target.items() if isinstance(v, dict)))
    target[name] = [target[name]]


def unanswered_call(rng, r):
    r["contents"].append({"role": "model", "parts": [{"functionCall": {"name": "a1", "args": {}}, "thoughtSignature": DUMMY}]})
    if rng.random() < 0.5:
        r["contents"].append({"role": "user", "parts": [{"text": "well?"}]})


def nameless_call(rng, r):
    part = rng.choice(parts_with(r, "functionCall") + parts_with(r, "functionResponse"))
    next(iter(part[k] for k in ("functionCall", "functionResponse") if k in part)).pop("name")


def blob(rng, r):
    rng.choice(rng.choice(r["contents"])["parts"]).update(rng.choice([
        {"inlineData": {"data": PNG}}, {"inlineData": {"mimeType": "image/png"}}, {"fileData": {"mimeType": "a/b"}}]))


MUTATIONS = [
    unknown_field, renamed_field, dropped_field, wrong_type, dropped_response, extra_response, swapped_turns, dropped_turn,
    missing_signature, response_of_another_name, response_of_another_id, response_not_an_object, bad_role, bad_enum,
    bad_range, bad_base64, empty_parts, empty_contents, bad_name, duplicate_name, required_undefined, array_without_items,
    schema_keyword, enum_value, parameters_not_object, both_parameters, allowed_names, any_without_functions,
    stop_sequences, response_format, bad_thinking, safety, cached_content, snake_case, two_kinds, object_for_list,
    list_for_object, unanswered_call, nameless_call, blob,
]


def mutated(rng, model, mutation):
    """A request that this mutation changed."""
    while True:
        request = good(rng, model)
        before = json.dumps(request)
        try:
            mutation(rng, request)
        except (IndexError, KeyError, AttributeError, TypeError, StopIteration):
            continue
        if json.dumps(request) != before:
            return request


# ---------------------------------------------------------------- comparison


def compare(fake, check, cases):
    """Sends each case; prints where the verdicts differ. Returns (agreed, rejected, disagreements)."""
    agreed, rejected, differ = 0, 0, 0
    for name, upstream, model, method, body in cases:
        api = "googleai" if upstream == "googleai" else "vertex"
        expected = check(body, method, api, model=model)
        accepted, answer = fake.verdict(upstream, model, method, body)
        if accepted == (not expected.errors):
            agreed += 1
            rejected += not accepted
            continue
        differ += 1
        told = expected.errors[0][1:] if expected.errors else "accepts"
        print(f"DISAGREE {name} {upstream} {model} {method}\n  oracle: {told}\n  fake: {answer[:400]}\n  body: {json.dumps(body)[:1500]}")
    return agreed, rejected, differ


def to_be_counted(rng, upstream, model, method, request):
    """Now and then the tokens of a request are to be counted instead."""
    if rng.random() < 0.85:
        return method, request
    if upstream == "googleai" and rng.random() < 0.7:
        return "countTokens", {"generateContentRequest": {"model": "models/" + model, **request}}
    known = ("contents", "systemInstruction", "tools", "generationConfig")
    return "countTokens", {k: v for k, v in request.items() if k in known or rng.random() < 0.2}


def generated(seed, count):
    rng = random.Random(seed)
    upstreams = ["googleai", "vertex", "code_assist"]
    for nth in range(count):
        upstream = upstreams[nth % 3]
        model = rng.choice(CODE_ASSIST_MODELS if upstream == "code_assist" else MODELS)
        yield f"good-{nth}", upstream, model, *to_be_counted(rng, upstream, model, rng.choice(METHODS[:2]), good(rng, model))
    for nth in range(count):
        upstream = upstreams[nth % 3]
        mutation = MUTATIONS[nth % len(MUTATIONS)]
        model = rng.choice(CODE_ASSIST_MODELS if upstream == "code_assist" else MODELS)
        request = to_be_counted(rng, upstream, model, rng.choice(METHODS[:2]), mutated(rng, model, mutation))
        yield f"{mutation.__name__}-{nth}", upstream, model, *request


def unredacted(value):
    """Recorders blanked some signatures; a dummy stands in for them."""
    if isinstance(value, dict):
        return {k: DUMMY if k in ("thoughtSignature", "thought_signature") and "REDACTED" in str(v) else unredacted(v)
                for k, v in value.items()}
    return [unredacted(v) for v in value] if isinstance(value, list) else value


def recorded(folder):
    for name in sorted(os.listdir(folder)):
        request = os.path.join(folder, name, "request.json")
        if not os.path.exists(request):
            continue
        with open(os.path.join(folder, name, "meta.json")) as file:
            meta = json.load(file)
        if meta["endpoint"] not in METHODS or not 200 <= (meta["http_status"] or 0) < 300:
            continue
        with open(request) as file:
            yield name, meta["api"], meta["model"], meta["endpoint"], unredacted(json.load(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", required=True, help="folder of oracle_gemini_request.py")
    parser.add_argument("--binary", required=True, help="the fake-google binary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=200, help="good requests, and as many mutated ones")
    parser.add_argument("--fixtures", help="folder of recorded requests")
    options = parser.parse_args()
    sys.path.insert(0, options.oracles)
    from oracle_gemini_request import check

    fake = Fake(options.binary)
    try:
        agreed, rejected, differ = compare(fake, check, generated(options.seed, options.count))
        print(f"generated: {agreed} agree, {rejected} of them rejected; {differ} disagree")
        if options.fixtures:
            more_agreed, more_rejected, more_differ = compare(fake, check, recorded(options.fixtures))
            print(f"recorded: {more_agreed} agree, {more_rejected} of them rejected; {more_differ} disagree")
            agreed, differ = agreed + more_agreed, differ + more_differ
    finally:
        fake.stop()
    sys.exit(1 if differ or agreed == 0 else 0)


if __name__ == "__main__":
    main()
