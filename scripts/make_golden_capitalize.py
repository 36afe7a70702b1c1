#!/usr/bin/env python3
"""Writes tests/golden/capitalize.jsonl: pairs of a text and its str.capitalize(), of letters that all versions of Unicode since
14 agree on. From the top of the repository, with any Python: python3 scripts/make_golden_capitalize.py
"""
import json
import unicodedata

IGNORED = "'.:\u00b7\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a\u0301\u00ad\u02b0^\u20dd"
OTHERS = "a\u00aa\u00ba\u2160\u217f\u24b6\u24e9\U0001f130\U0001f170\u01c5 1\u4e2d\u05d0\u2080\u00b5\u0345"


def main():
    letters = [chr(c) for c in range(0x20, 0x1E000) if unicodedata.category(chr(c))[0] in "LN"]
    texts = ["", "he GOES", "ΌΣΟΣ", "ΣΑΣ ΑΣ.", "İI", "ΣΣ", "Σ", "aΣ", "aΣb", "1Σ", "Σa"]
    texts += [c + "A" + c for c in letters if len(c.title()) > 1 or len(c.lower()) > 1 or c.title() != c.upper()]
    texts += [a + m + "Σ" + b for m in IGNORED for a in "a1" for b in ("", "b", m + "B")]
    texts += ["x" + c + "Σ" + c for c in OTHERS]
    with open("tests/golden/capitalize.jsonl", "w", encoding="utf-8") as out:
        for text in texts:
            print(json.dumps([text, text.capitalize()]), file=out)


if __name__ == "__main__":
    main()
