# SPDX-License-Identifier: Apache-2.0
"""Writes expected.json: what transformers makes of every template here and every case of cases.json.

    python make_expected.py

A rendering that the template refuses, or that Jinja cannot do, is null. The date is always 26 July 2024.
"""
import datetime
import json
import pathlib

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


class Day(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(template, messages):
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=False, **SPECIAL)
        return rendered[0]
    except Exception as e:
        print("   ", type(e).__name__, e)
        return None


def main():
    chat_template_utils.datetime = Day
    cases = json.loads((HERE / "cases.json").read_text(encoding="utf-8"))
    expected = {}
    for path in sorted(HERE.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        expected[path.stem] = {}
        for case in cases:
            print(path.stem, case["name"])
            expected[path.stem][case["name"]] = render(template, case["messages"])
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (HERE / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
