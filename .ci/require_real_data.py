"""Fails if a test that needs the real data was skipped, or if there were none: a green run must have seen real images.

With ``--without-real-data`` it names every test that was left out, and fails only if there was none to name.
"""

from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree

REASON = "RTMDET_LAB_DATA"
WITHOUT = "--without-real-data"


def main(arguments: list[str]) -> int:
    reports = [argument for argument in arguments if argument != WITHOUT]
    skipped, ran = [], 0
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            properties = {entry.get("name") for entry in case.iter("property")}
            skip = case.find("skipped")
            if skip is not None and REASON in (skip.get("message") or ""):
                skipped.append(f"{case.get('classname')}.{case.get('name')}")
            elif "real_data" in properties:
                ran += 1
    for name in skipped:
        print(f"skipped without real data: {name}", file=sys.stderr)
    if WITHOUT in arguments:
        told = f"{len(skipped)} tests on real images were left out: they need {REASON}, which this machine does not have"
        print(f"::warning::{told}" if "GITHUB_ACTIONS" in os.environ else told)
        if "GITHUB_STEP_SUMMARY" in os.environ:
            with open(os.environ["GITHUB_STEP_SUMMARY"], "a") as summary:
                summary.write("\n* ".join([told + ":\n", *skipped]) + "\n")
        return 0 if skipped else 1
    print(f"{ran} tests ran on real data")
    return 1 if skipped or not ran else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
