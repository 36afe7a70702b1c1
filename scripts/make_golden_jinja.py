#!/usr/bin/env python3
"""Writes tests/golden/jinja.jsonl: templates as transformers renders them, null where it fails. From the top of the repository:

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install transformers==5.24.0 jinja2
    /tmp/golden/bin/python scripts/make_golden_jinja.py
"""
import json

from transformers.utils.chat_template_utils import _compile_jinja_template

GIVEN = {"messages": [{"role": "system", "content": " \u3000be brief\u00a0\n"}, {"role": "user", "content": "année 東京"},
                      {"role": "assistant", "content": "<think>a</think>b"}],
         "bos_token": "<s>", "tools": None, "add_generation_prompt": True, "n": 3, "zero": 0.0, "list": ["x", "y", "z"]}

EXPRESSIONS = """
bos_token | 'a' + "b" ~ 3 ~ true ~ none | 'it\\'s\\n\\t\\\\' | "a" 'b' | nothing | nothing.x | nothing['x'] | nothing ~ 'a' | nothing + 'a'
1 + 2 * 3 | (1 + 2) * 3 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 1 // 0 | 2 - -1 | -n | - n + 1 | 5 - 2 - 1 | 'a' * 2 - 1
1 == 1.0 if false else 2 | 'a' if n > 2 | 'a' if n > 3 | 'a' if n > 3 else 'b' if n > 2 else 'c' | (nothing.x if false else 'y') | nothing.x if nothing is defined else 'z'
not true | not nothing | not n == 3 | n in [1, 2, 3] | n not in [1, 2] | 'ee' in 'beef' | 'x' in nothing | 'role' in messages[0] | 1 < n <= 3 | 1 < n < 3 | 'a' < 'b' | 'a' < 1 | true == 1
true and 'a' | false and nothing.x | false or 'b' | '' or none or 'c' | true or nothing.x | n and n > 2 and 'yes' | not (true and false) or false
list[0] | list[-1] | list[5] | list[-4] | list[1:] | join | messages[1].content[0] | messages[1].content[-1] | messages[1].content[2:7] | messages[1]['content'][:-3] | messages[1:][0].role | messages[::-1][0].role | 'abc'[1:2] | 'abc'[5:] | 'abc'[2:1] | list[0:2]|join(',') | {'a': 1}['a'] | {'a': 1}.a | {'a': 1}.b | {'a': 1}.get('b', 2) | {'a': 1}.get('b') | {} | (1, 2)[1] | () | length | [[1, 2], [3]][1][0] | [1, [2]][1:][0][0]
'  a '|trim + 'b' | messages[0].content|trim | messages[0].content.strip() | messages[1].content|length | list|length | messages[0]|length | nothing|length | n|length | 'abc'|upper | 'aBC'|capitalize | 'éCÎ ΟΔΟΣ'|capitalize | 'ßA'.capitalize() | 'ABC'|lower | ('a b-c d1e').title() | list|first | list|last | []|first | 'abc'|first | list|join | list|join(', ') | [1, true, none]|join('-') | nothing|default('d') | ''|default('d') | ''|default('d', true) | none|default('d') | 'a.b.c'|replace('.', '') | list|reverse|join | n|string + '4' | '{"a"}'|tojson | {'a': [1, 'é', none, true]}|tojson | messages|map(attribute='role')|join(',') | messages|selectattr('role', 'equalto', 'user')|list|length | messages|rejectattr('role', 'equalto', 'user')|list|length | messages|selectattr('nothing')|list|length | {'a': 1, 'b': 2}|items|list|length | 'x'|safe | list|count | 'é'|length
'a,b,c'.split(',')|join('-') | 'a,b,c'.split(',', 1)[1] | messages[2].content.split('</think>')[-1] | messages[2].content.split('x')[0] | 'aab'.lstrip('a') | 'baa'.rstrip('a') | 'abcba'.strip('ab') | 'éaé'.strip('é') | 'abc'.startswith('ab') | 'abc'.endswith('bc') | 'abc'.endswith('abcd') | 'a.b'.replace('.', '-') | 'abc'.upper() | 'Abc'.lower() | 'ab cd'.capitalize() | 'abc'.nothing() | n.strip() | {'a': 1}.items()|list|length | {'a': 1}.keys()|list|join | ''.strip() | ''.split(',')|length
n is defined | nothing is defined | nothing is not defined | nothing is undefined | tools is none | n is none | n is number | n is string | 'a' is string | messages is iterable | 'a' is iterable | messages[0] is mapping | messages is mapping | list is sequence | 'a' is sequence | n is odd | n is even | n is not odd | true is boolean | n is boolean | true is true | 1 is true | false is false | n is integer | n is equalto 3 | n is eq(4) | n is ne 4 | n is in [3] | not n is odd | n is odd and true | range is defined | strftime_now is defined | raise_exception is undefined
range(3)|join | range(1, 3)|join | range(3, 0, -1)|join | range(0, 5, 2)|join | namespace(a=1).a | dict(a=1).a | raise_exception('no') | range(0, 3, 0)|join | nothing()
'%}' | '}}' | {'a': {'b': 1}}.a.b | "a'b" | 'a"b' | [1, 2,]|length | 'x' if ',' == ',' else 'y' | ('a' if true else 'b') + 'c' | ['a' if false else 'b', 'c']|join | 'a' if zero else 'b'
""".strip().replace("\n", " | ")

TEMPLATES = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \n  b\n  {% endif %}\n  c\n\n", "  {%- if true -%}  b  {%- endif -%}  c",
    "a {{- 'b' -}} c", "a {{ 'b' }} \n", "{% if true +%}\nb{% endif %}", "x\n  {%+ if true %}b{% endif %}", "a {# no #}\n b", "a\n  {# no #}\nb",
    "{#- no -#} a", "\n\na\n\n", "a\r\nb\r{% if true %}\r\nc{% endif %}", "\u3000{%- if true -%}\u00a0b\u2003{%- endif %}", "x {% if true %}y{% endif %} z",
    "x\n\t {% if true %}y{% endif %}", "{{ 'a' }}\n  {% if true %}b{% endif %}", "{{ 'a' -}}\n  {% if true %}b{% endif %}", "{% if true -%}\n\n  b{% endif %}",
    "{% if n == 1 %}a{% elif n == 3 %}b{% elif n == 3 %}c{% else %}d{% endif %}", "{% if false %}a{% else %}b{% endif %}", "{% if nothing %}a{% endif %}",
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ m.role }};{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{{ loop.length }}{% endfor %}", "{% for m in [] %}a{% else %}b{% endfor %}",
    "{% for m in list if m == 'q' %}a{% else %}b{% endfor %}", "{% for m in nothing %}a{% endfor %}c", "{% for m in none %}a{% endfor %}c",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "{% for k in {'a': 1} %}{{ k }}{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ b }}{% endfor %}",
    "{% for a in list %}{% if a == 'y' %}{% break %}{% endif %}{{ a }}{% endfor %}!", "{% for a in list %}{% if a == 'y' %}{% continue %}{% endif %}{{ a }}{% endfor %}!",
    "{% for a in list %}{% for b in list %}{% if b == 'y' %}{% break %}{% endif %}{{ a }}{{ b }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% for a in list %}{{ loop.previtem }}{{ loop.nextitem }}{% if loop.previtem is defined %}!{% endif %}{% endfor %}", "{{ loop }}{% for a in list %}{% endfor %}{{ a }}",
    "{% set x = 1 %}{% for a in list %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for a in list %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x }}",
    "{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% set messages = messages[1:] %}{{ messages[0].role }}", "{% set x %}a{{ n }}{% endset %}{{ x }}{{ x }}",
    "{% set x = 'a' ~ n %}{{ x }}", "{% set a, b = [1, 2] %}{{ b }}", "{% macro f(a, b='q') %}{{ a }}{{ b }}{{ n }}{% endmacro %}{{ f('x') }}{{ f('x', 'y') }}{{ f(b='z', a='w') }}{{ f() }}",
    "{% macro f(a) %}{{ a }}{{ m }}{% endmacro %}{% for m in list %}{{ f(m) }}{% endfor %}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{{ f(1) }}{% macro f(a) %}{{ a }}{% endmacro %}", "{% set q = 5 %}{% macro f() %}{{ q }}{% set q = 6 %}{{ q }}{% endmacro %}{{ f() }}{{ q }}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}", "{% generation %}{% set y = 1 %}{{ y }}{% endgeneration %}{{ y }}",
    "{% if (messages[0].role == 'user') != (1 % 2 == 0) %}a{% endif %}", "{% for m in messages %}{{ '<' ~ m.role ~ '>' ~ (m.content | trim) ~ '</>' }}{% endfor %}",
    "{% for a in list %}{% break %}{% else %}b{% endfor %}", "{% for a in list %}{% if a == 'y' %}{% continue %}{% endif %}{% else %}b{% endfor %}", "{{ 2 < 1 < 1 // 0 }}",
    "{{ 'a' }", "{% if true %}", "{% endif %}", "{% for a in list %}{% endif %}", "{% else %}", "{% break %}", "{{ 'a }}", "{% set n.x = 1 %}", "{{ 1 + }}", "{{ }}", "{{ (1 }}", "{{ [1 }}", "{# a",
    "{% for a in list %}{% set x = a %}{% endfor %}{{ x }}", "{{ 'a' if }}", "{{ n is }}", "{{ n | }}", "{{ a b }}", "{% if %}{% endif %}", "{% for in list %}{% endfor %}", "{{ {'a' 1} }}", "{ {{ 1 }} }", "{ % }", "{{1}}{{2}}",
]


def main():
    templates = ["{{ " + e.strip() + " }}" for e in EXPRESSIONS.split(" | ")] + TEMPLATES
    with open("tests/golden/jinja.jsonl", "w", encoding="utf-8") as out:
        print(json.dumps(GIVEN, ensure_ascii=False), file=out)
        for template in dict.fromkeys(templates):
            try:
                text = _compile_jinja_template(template).render(**GIVEN)
            except Exception:
                text = None
            print(json.dumps({"template": template, "text": text}, ensure_ascii=False), file=out)


if __name__ == "__main__":
    main()
