#!/usr/bin/env python3
"""Would Google's APIs take what the golden requests of translate/tests/golden become?

    golden_requests.py --oracles DIR

Asks oracle_gemini_request.py in DIR about every expected request, for its API and model. Exit 1 when one is refused.
"""
import argparse
import json
import pathlib
import sys

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "translate/tests/golden"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", required=True)
    options = parser.parse_args()
    sys.path.insert(0, options.oracles)
    from oracle_gemini_request import check

    asked = refused = 0
    for case in sorted(GOLDEN.iterdir()):
        if not (case / "read.json").exists():
            continue
        model = json.loads((case / "read.json").read_text())["model"]
        behind_code_assist = model.startswith(("claude", "gpt-oss"))
        for name, api in (("gemini-api", "googleai"), ("vertex", "vertex"), ("code-assist", "vertex")):
            if behind_code_assist and name != "code-assist":
                continue
            body = json.loads((case / f"{name}.json").read_text())
            verdict = check(body, "generateContent", api, "googleapis" if api == "googleai" else "vertex", model)
            asked += 1
            for problem in verdict.errors:
                refused += 1
                print(f"{case.name}/{name}: {problem}")
    print(f"{asked} requests, {refused} refused")
    sys.exit(1 if refused or not asked else 0)


if __name__ == "__main__":
    main()
