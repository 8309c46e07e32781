"""Fails if a test that needs the real data was skipped, or if there were none: a green run must have seen real images."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

REASON = "RTMDET_LAB_DATA"


def main(reports: list[str]) -> int:
    skipped, ran = [], 0
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            properties = {one.get("name") for one in case.iter("property")}
            skip = case.find("skipped")
            if skip is not None and REASON in (skip.get("message") or ""):
                skipped.append(f"{case.get('classname')}.{case.get('name')}")
            elif "real_data" in properties:
                ran += 1
    for name in skipped:
        print(f"skipped without real data: {name}", file=sys.stderr)
    print(f"{ran} tests ran on real data")
    return 1 if skipped or not ran else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
