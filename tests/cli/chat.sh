# Conversations: the chat template and the settings of generation travel from import to every export.
. tests/cli/common
golden=tests/golden/families/qwen3

# A folder of a tiny model with a template in chatml.
cp -r "$golden" "$dir/model"
chat="{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
printf '%s' "$chat" >"$dir/model/chat_template.jinja"
echo '{"eos_token_id": 3, "temperature": 0.5}' >"$dir/model/generation_config.json"
expect 0 "" "$SOLERA" import "$dir/model" -o "$dir/m.h5"

# From there to a packed file, GGUF and a folder, and in again.
kept() { # folder
    grep -qF "{{ '<|im_start|>' + m.role" "$1/tokenizer_config.json" || fail "$1: the template is lost"
    grep -qE '"temperature": 0.5' "$1/generation_config.json" || fail "$1: the temperature is lost"
}
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/p.h5" --method sherry --granularity per_channel
expect 0 "" "$SOLERA" export "$dir/p.h5" -o "$dir/hf" --format safetensors
kept "$dir/hf"
expect 0 "" "$SOLERA" export "$dir/m.h5" -o "$dir/m.gguf" --type f32
grep -qaF tokenizer.chat_template "$dir/m.gguf" || fail "GGUF: the template is lost"
expect 0 "" "$SOLERA" import "$dir/m.gguf" -o "$dir/again.h5"
expect 0 "" "$SOLERA" export "$dir/again.h5" -o "$dir/hf2" --format safetensors
kept "$dir/hf2"

# Lines of conversations become a dataset that knows the answers, and a run learns those alone.
cat >"$dir/c.jsonl" <<'END'
{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "no no no no"}]}
{"prompt": "a b", "completion": "c d e f"}
{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y z"}]}
END
chats() { # the line of JSON
    echo "$1" >"$dir/bad.jsonl"
    "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --input "$dir/bad.jsonl" -o "$dir/bad.h5"
}
expect 0 "3 documents" "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --input "$dir/c.jsonl" -o "$dir/c.h5"
expect 2 "bad.jsonl:1: the conversation has no message" chats '{"messages": []}'
expect 2 "bad.jsonl:1: message 1: role 'narrator': expected system" \
    chats '{"messages": [{"role": "narrator", "content": "x"}]}'
expect 2 "bad.jsonl:1: message 1: tool_calls is not rendered here" \
    chats '{"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]}'
expect 0 "" chats '{"messages": [{"role": "user", "content": "x", "tool_calls": null}], "tools": []}'
rm "$dir/bad.h5"
expect 2 "bad.jsonl:1: tools is not rendered here" \
    chats '{"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}'
expect 2 "bad.jsonl:1: system stands beside the messages" \
    chats '{"conversations": [{"from": "human", "value": "x"}], "system": "be brief"}'
expect 2 "bad.jsonl:1: message 1: thinking is not rendered here" \
    chats '{"messages": [{"role": "assistant", "content": "x", "thinking": "y"}]}'
expect 2 "bad.jsonl:1: conversations[0]: weight weighs this answer" \
    chats '{"conversations": [{"from": "gpt", "value": "x", "weight": 0}]}'
expect 0 "" chats '{"messages": [{"role": "user", "content": "x", "weight": 1, "train": true}], "system": ""}'
rm "$dir/bad.h5"
expect 2 "bad.jsonl:1: has the fields of Alpaca: jq -c" chats '{"instruction": "x", "output": "y"}'
expect 2 "bad.jsonl:1: expected an object with messages" chats '{"text": "x"}'
expect 2 "\`solera tokenize --format chat\` reads conversations" \
    "$SOLERA" tokenize --tokenizer "$dir/m.h5" --input "$dir/c.jsonl" -o "$dir/bad.h5"
printf 'PAR1' >"$dir/x.parquet"
expect 2 "scripts/table_to_jsonl.sh" \
    "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --input "$dir/x.parquet" -o "$dir/bad.h5"
[ ! -e "$dir/bad.h5" ] || fail "a dataset of bad lines"
t=$golden/tokenizer.json
expect 2 "the model has no chat template: --chat-format chatml|" \
    "$SOLERA" tokenize --tokenizer "$t" --format chat --input "$dir/c.jsonl" -o "$dir/d.h5"
expect 2 "the vocabulary has no token <|start_header_id|>" \
    "$SOLERA" tokenize --tokenizer "$t" --format chat --chat-format llama3 --input "$dir/c.jsonl" -o "$dir/d.h5"
expect 0 "" "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --chat-format chatml --input "$dir/c.jsonl" -o "$dir/d.h5"
cmp "$dir/c.h5" "$dir/d.h5" || fail "the template and the format of its name differ"

cat >"$dir/job.yaml" <<END
model: {init: $dir/m.h5}
data: {train: $dir/c.h5, loss_on: answers}
train: {steps: 2, batch: 1, seq: 16}
quant: {granularity: per_channel}
run: {dir: $dir/run}
END
expect 0 "" "$SOLERA" train "$dir/job.yaml"
yes "no conversation" | head -n 20 >"$dir/t.txt"
expect 2 "t.txt has no answers" \
    "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/t.txt" --set run.dir="$dir/run2" --set train.seq=2

# Windows without an answer are no failures, however many: more than train.max_skipped here.
printf '{"prompt": "%s", "completion": "yes"}\n' "$(yes "a long question" | head -n 60 | tr '\n' ' ')" >"$dir/l.jsonl"
expect 0 "" "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --input "$dir/l.jsonl" -o "$dir/l.h5"
expect 0 "no token that counts" "$SOLERA" train "$dir/job.yaml" --set data.train="$dir/l.h5" --set run.dir="$dir/run3" \
    --set train.steps=20 --set train.max_skipped=0
grep -q "warning" "$dir/err" && fail "a window without an answer is warned of: $(cat "$dir/err")"

# One message of a user through the template.
expect 0 "prompt " "$SOLERA" generate "$dir/m.h5" --chat -p "hi" --system "be brief" -n 4 --temp 0
expect 2 "the vocabulary has no token </s>" \
    "$SOLERA" generate "$dir/m.h5" --chat --chat-format mistral -p "hi" -n 4

cp -r "$golden" "$dir/half"
sed 's,<|im_end|>,</s>,' "$golden/tokenizer.json" >"$dir/half/tokenizer.json"
expect 0 "" "$SOLERA" import "$dir/half" -o "$dir/half.h5"
expect 2 "the vocabulary has no token <s>" \
    "$SOLERA" generate "$dir/half.h5" --chat --chat-format mistral -p "hi" -n 4

# A raw prompt that a model with a template ends at once: it says so.
first=$("$SOLERA" generate "$dir/m.h5" -q -p "hi" --no-echo -n 1 --temp 0)
expect 0 "the model ended the text at once: it has a chat template" \
    "$SOLERA" generate "$dir/m.h5" -p "hi" -n 4 --temp 0 --stop "$first"

# Any template is run as it is: roles of its own, tokens that tokenizer_config.json names, what it
# refuses; what asks for more than is known is refused by name.
template() { # its text, and the message
    printf '%s' "$1" >"$dir/model/chat_template.jinja"
    "$SOLERA" import "$dir/model" -o "$dir/other.h5" --force -q && "$SOLERA" generate "$dir/other.h5" --chat -p "$2" -n 1
}
echo '{"bos_token": "<think>", "eos_token": {"content": "<think>"}}' >"$dir/model/tokenizer_config.json"
expect 0 "prompt 6 tokens" template "
 {{ bos_token }}{% for m in messages %}{{ m.content | upper }}{{ eos_token }}{% endfor %}" ab
expect 2 "the chat template: line 2: no system" template "
{% for m in messages %}{% if m.role != 'assistant' %}{{ raise_exception('no system') }}{% endif %}{% endfor %}" ab
expect 2 "the chat template: line 1: the filter 'wordwrap', or its arguments: --chat-format chatml|" \
    template "{{ messages | wordwrap }}" ab
rm "$dir/model/tokenizer_config.json"

# A conversation: each line is answered, and what was said before is in the next prompt.
expect 2 "no effect with --temp 0" "$SOLERA" chat "$dir/m.h5" --temp 0 --top-p 0.5 </dev/null
printf 'hi\n\nand you\n' | "$SOLERA" chat "$dir/m.h5" --system "be brief" -n 4 --temp 0 >"$dir/out" 2>"$dir/err" ||
    fail "chat: $(cat "$dir/err")"
[ "$(wc -l <"$dir/out")" -ge 2 ] || fail "chat: no two answers: $(cat "$dir/out")"
printf 'a\0b\n' >"$dir/nul"
nul() { "$SOLERA" chat "$dir/m.h5" -n 4 <"$dir/nul"; }
expect 2 "the message holds a byte 0" nul
yes "again and again" | head -n 8 | "$SOLERA" chat "$dir/m.h5" -n 4 --temp 0 >"$dir/out" 2>"$dir/err" ||
    fail "chat: $(cat "$dir/err")"
grep -q "context overflow: the conversation has .* it begins anew" "$dir/err" || fail "no overflow: $(cat "$dir/err")"
yes "long" | head -n 99 | tr '\n' ' ' >"$dir/long"
long() { "$SOLERA" chat "$dir/m.h5" <"$dir/long"; }
expect 2 "context overflow: the message has" long
# On a terminal such a message is said and left out, and the next one is answered.
if script -qec true /dev/null >/dev/null 2>&1; then
    { cat "$dir/long" && printf '\nhi\n'; } | script -qec "'$SOLERA' chat '$dir/m.h5' -n 4 --temp 0" /dev/null >"$dir/out" ||
        fail "chat: a long message on a terminal ends it: $(cat "$dir/out")"
    grep -q "context overflow: the message has" "$dir/out" || fail "chat on a terminal: $(cat "$dir/out")"
fi
"$SOLERA" import --random embedded -o "$dir/mute.h5" 2>/dev/null
expect 2 "holds no tokenizer" "$SOLERA" chat "$dir/mute.h5"

# A signal ends the answer, not the program: the line after it is answered, too.
mkfifo "$dir/in"
talk() { # begins a conversation, in which the first message is answered; the next ones go to 3
    : >"$dir/answers"
    "$SOLERA" chat "$dir/m.h5" -n 2 --temp 0 <"$dir/in" >"$dir/answers" 2>"$dir/said" &
    pid=$!
    exec 3>"$dir/in"
    echo "hi" >&3
    until_true "an answer" [ -s "$dir/answers" ]
}
talk
kill -INT "$pid"
echo "hi" >&3
exec 3>&-
wait "$pid" || fail "chat after a signal: $? $(cat "$dir/said")"
pid=
[ "$(grep -c '' "$dir/answers")" -ge 2 ] || fail "no answer behind a signal: $(cat "$dir/answers")"

# SIGTERM ends the program, also while it waits for a message.
talk
kill -TERM "$pid"
exec 3>&-
ended 143

# tokenize waits for conversations, too.
timeout -s KILL 60 "$SOLERA" tokenize --tokenizer "$dir/m.h5" --format chat --input - -o "$dir/bad.h5" <"$dir/in" 2>"$dir/said" &
pid=$!
exec 3>"$dir/in"
yes the | head -c 70000 >&3
kill -TERM "$pid"
ended 130
exec 3>&-
