#!/usr/bin/env python3
"""Writes tests/golden/chat.jsonl: conversations as transformers renders them, with the ranges of answers. The templates are written
here, in the words of src/chat/chat.h; {% generation %} marks what the assistant says. From the top of the repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install transformers==5.24.0 jinja2
    /tmp/golden/bin/python scripts/make_golden_chat.py
"""
import json
import random
from datetime import datetime

from transformers.utils.chat_template_utils import render_jinja_template

OPEN_CHATML = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
RESPONSES = """{%- elif m.role == 'tool' %}
{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"""

CHATML = """{% for m in messages %}
{% if m.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{% endfor %}""" + OPEN_CHATML

WITH_SYSTEM = """{% if messages[0].role != 'system' %}
{{- '<|im_start|>system\\nYou answer in one line.<|im_end|>\\n' }}
{%- endif %}
""" + CHATML.replace("{%- else %}", RESPONSES + "\n{%- else %}")

# As older files of tokenizers hold it: line ends in the strings, escapes in the text.
ONE_LINE = """{% for m in messages %}{% if loop.first and m.role != 'system' %}{{ '<|im_start|>system
Put it in \\\\box{}, don\\'t ask.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + m.role + '
' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}
{{- '
' }}{% else %}{{ m.content + '<|im_end|>' + '
' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

QWEN3 = """{% set ns = namespace(last_query_index=-1) %}
{% for m in messages %}
{% if m.role == 'user' and not (m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}
{% set ns.last_query_index = loop.index0 %}
{% endif %}
{% endfor %}
{% if ns.last_query_index < 0 %}{% set ns.last_query_index = messages | length - 1 %}{% endif %}
{% for m in messages %}
{% if m.role == 'assistant' %}
{% set said = m.content %}
{% set thought = '' %}
{% if '</think>' in said %}
{% set thought = m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{% set said = m.content.split('</think>')[-1].lstrip('\\n') %}
{% endif %}
{{- '<|im_start|>assistant\\n' }}
{%- generation %}
{%- if loop.index0 > ns.last_query_index %}
{%- if loop.last or thought %}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}
{%- else %}
{{- said }}
{%- endif %}
{%- else %}
{{- said }}
{%- endif %}
{{- '<|im_end|>' }}
{%- endgeneration %}{{ '\\n' }}
""" + RESPONSES + """
{%- else %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{% endfor %}""" + OPEN_CHATML + "{% if enable_thinking is defined %}{% endif %}"

LLAMA3 = """{{ '<|begin_of_text|>' }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}
{%- if m.role == 'assistant' %}
{%- generation %}{{ m.content | trim + '<|eot_id|>' }}{% endgeneration %}
{%- else %}
{{- m.content | trim + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

DATED = """{{ '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: 26 Jul 2024\\n\\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}
{{- '<|eot_id|>' }}
""" + LLAMA3.removeprefix("{{ '<|begin_of_text|>' }}\n")

OF_THE_DAY = DATED.replace("26 Jul 2024", "' + strftime_now(\"%d %b %Y\") + '")
ALWAYS_THINKS = QWEN3.replace("{% if enable_thinking is defined %}{% endif %}", "").replace(
    OPEN_CHATML, "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}")

MISTRAL = """{{ '<s>' }}
{%- set system = '' %}
{%- if messages[0].role == 'system' %}
{%- set system = messages[0].content + '\\n\\n' %}{% set messages = messages[1:] %}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}
{{- " [INST] " + (system if loop.first else '') + m.content + " [/INST]" }}
{%- else %}
{%- generation %}{{ " " + m.content + '</s>' }}{% endgeneration %}
{%- endif %}
{%- endfor %}"""



def mistral(open_, close, answer, trims, system, blank=False):
    said = "m.content | trim" if trims else "m.content"
    with_system = {"last": "(prefix if loop.last and system_message is defined else '')", "none": "''", "tagged": "''"}[system]
    head = {"last": """{%- if messages[0].role == 'system' %}
{%- set system_message = messages[0].content %}{% set prefix = system_message + '\\n\\n' %}{% set messages = messages[1:] %}
{%- endif %}""", "none": "", "tagged": ""}[system]
    tagged = """{%- if m.role == 'system' %}{{- '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}{% endif %}""" if system == "tagged" else ""
    blank = "{% set eos_token = '</s>' %}{{ (eos_token + ' ')[4:] }}" if blank else ""
    return """{{ '<s>' }}
""" + head + """
{%- for m in messages %}""" + tagged + """
{%- if m.role == 'user' %}
{{- '""" + open_ + "' + " + with_system + " + m.content + '" + close + """' }}
{%- elif m.role == 'assistant' %}
{%- generation %}{{ '""" + answer + "' + (" + said + """) + '</s>' }}{% endgeneration %}""" + blank + """
{%- endif %}
{%- endfor %}"""


SMOLLM3 = """{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}
{%- if enable_thinking %}{% set reasoning_mode = "/think" %}{% else %}{% set reasoning_mode = "/no_think" %}{% endif %}
{%- set first = messages[0].content if messages[0].role == "system" else "" %}
{%- if "/no_think" in first %}{% set reasoning_mode = "/no_think" %}{% endif %}
{%- set said = first.replace("/no_think", "").replace("/think", "").rstrip() %}
{{- "<|im_start|>system\\n" }}
{%- if "/system_override" in first %}
{{- said.replace("/system_override", "").rstrip() + "<|im_end|>\\n" }}
{%- else %}
{{- "## Metadata\\n\\nKnowledge Cutoff Date: June 2025\\nToday Date: " + strftime_now("%d %B %Y") }}
{{- "\\nReasoning Mode: " + reasoning_mode + "\\n\\n## Custom Instructions\\n\\n" }}
{%- if said %}
{{- said + "\\n\\n" }}
{%- elif reasoning_mode == "/think" %}
{{- "Think in \\"steps\\",\\nthen answer.\\n\\n" }}
{%- else %}
{{- "Answer at once.\\n\\n" }}
{%- endif %}
{%- endif %}
{%- for m in messages %}
{%- if m.role == "user" or m.role == "tool" %}
{{- "<|im_start|>user\\n" + m.content + "<|im_end|>\\n" }}
{%- elif m.role == "assistant" %}
{{- "<|im_start|>assistant\\n" + ("" if reasoning_mode == "/think" else "<think>\\n\\n</think>\\n") }}
{%- generation %}{{ m.content.lstrip("\\n") + "<|im_end|>" }}{% endgeneration %}{{ "\\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- "<|im_start|>assistant\\n" + ("" if reasoning_mode == "/think" else "<think>\\n\\n</think>\\n") }}
{%- endif %}"""

# As some rewrite it for programs that know no date.
SMOLLM3_UNDATED = SMOLLM3.replace("""\\nToday Date: " + strftime_now("%d %B %Y") }}""", """" }}""").replace(
    """{%- if "/system_override" in first %}
{{- said.replace("/system_override", "").rstrip() + "<|im_end|>\\n" }}
{%- else %}
""", "").replace("""{%- endif %}
{%- endif %}
{%- for m""", """{%- endif %}
{{- "<|im_end|>\\n" }}
{%- for m""")

TEMPLATES = {"chatml": CHATML, "chatml with a system": WITH_SYSTEM, "chatml of one line": ONE_LINE, "qwen3": QWEN3,
             "qwen3 that always thinks": ALWAYS_THINKS, "llama3": LLAMA3, "llama3 with dates": DATED,
             "llama3 of the day": OF_THE_DAY, "mistral": MISTRAL,
             "mistral 0.1": mistral("[INST] ", " [/INST]", "", False, "none", blank=True),
             "mistral without a system": mistral("[INST] ", " [/INST]", "", False, "none"),
             "mistral 0.3": mistral("[INST] ", "[/INST]", " ", True, "last"),
             "mistral tekken": mistral("[INST]", "[/INST]", "", False, "last"),
             "mistral with a system prompt": mistral("[INST] ", "[/INST]", " ", False, "tagged"),
             "smollm3": SMOLLM3, "smollm3 without a date": SMOLLM3_UNDATED}
WORDS = ["blue", " the", "\n", "  ", "année", "東京", "<b>", "{{x}}", "%s", "'quote'", "\"", "\\n", "\t", "7", ".", "🙂", "or\nso"]


def content(rng, role, thinks):
    text = "".join(rng.choice(WORDS) for _ in range(rng.randint(1, 9)))
    if role != "assistant" or not thinks or rng.random() < 0.5:
        return text
    return rng.choice(["<think>\n", "\n<think>", ""]) + "so" + text + rng.choice(["\n</think>\n\n", "</think>"]) + "said" + text


def conversation(rng, name):
    roles = ["system"] if rng.random() < 0.5 and name not in ("mistral 0.1", "mistral without a system") else []
    for _ in range(rng.randint(1, 4)):
        roles.append("user")
        if name in ("chatml with a system", "qwen3", "qwen3 that always thinks") and rng.random() < 0.3:
            roles += ["assistant"] + ["tool"] * rng.randint(1, 3)
        roles.append("assistant")
    if rng.random() < 0.4:
        roles.pop()
    return [{"role": r, "content": content(rng, r, name == "qwen3")} for r in roles]


def main():
    rng = random.Random(21)
    with open("tests/golden/chat.jsonl", "w", encoding="utf-8") as out:
        for name, template in TEMPLATES.items():
            print(json.dumps({"name": name, "template": template}, ensure_ascii=False), file=out)
            for _ in range(50):
                messages = conversation(rng, name)
                is_open = messages[-1]["role"] != "assistant"
                if name.startswith("smollm3") and messages[0]["role"] == "system":
                    messages[0]["content"] += rng.choice(["", "/no_think", "/think ", "/system_override\n", "/no_think/system_override"])
                    if rng.random() < 0.2:
                        messages[0]["content"] = "/no_think"
                texts, ranges = render_jinja_template([messages], chat_template=template, add_generation_prompt=is_open,
                                                      return_assistant_tokens_mask=True)
                answers = [texts[0][begin:end] for begin, end in ranges[0]]
                text = texts[0]
                for form in ("%d %B %Y", "%d %b %Y"):
                    text = text.replace(datetime.now().strftime("Today Date: " + form), "Today Date: 07 March 2026")
                print(json.dumps({"messages": messages, "open": is_open, "text": text, "answers": answers},
                                 ensure_ascii=False), file=out)


if __name__ == "__main__":
    main()
