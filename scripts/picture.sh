#!/usr/bin/env bash
# Draws the README's picture, docs/images/demo.svg, from what scripts/demo.sh prints. Run it when the output of sync-once, of verify or
# of the demo changes.
set -euo pipefail
cd "$(dirname "$0")/.."

output=$(mktemp)
trap 'rm -f "$output"' EXIT
scripts/demo.sh > "$output" 2> /dev/null

mkdir -p docs/images
# The second sync, the verification, and what people type. awk counts bytes or characters, so that the width is a number of columns
# that is known beforehand.
awk -v columns=118 '
    function keep(text) { lines[++count] = text }
    /^Some seconds later/ { keep("$ k6sync sync-once"); part = "sync"; next }
    /^And what a dashboard reads/ { part = ""; next }
    /^Is the record what the logs say/ { keep(""); keep("$ k6sync verify"); part = "verify"; next }
    /^That was a database/ { part = "" }
    /^\$ / { keep(""); keep($0); part = "typed"; typed = 0; most = 99; if (/ show /) most = 3; if (/ logs /) most = 8; next }
    part == "verify" && /equal *$/ && ++verified > 4 { if (verified == 5) keep("…"); next }
    part == "" || (part != "typed" && /^$/) { next }
    part == "typed" { if (++typed > most) { if (typed == most + 1) keep("…"); next } if (/^$/) next }
    { keep($0) }
    END {
        width = columns * 7.8 + 40
        height = count * 18 + 40
        print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " width " " height "\" width=\"" width "\" height=\"" height "\" role=\"img\">"
        print "<title>k6sync syncs a namespace, verify compares every line, and runs, show, logs and wait say what became of the tests</title>"
        # A card of its own colours, so that it can be read on light and on dark pages.
        print "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;fill:#d5dae1;white-space:pre}" \
            ".in{fill:#fff;font-weight:bold}.good{fill:#6cd08c}.bad{fill:#ff8f85}.head{fill:#9aa4b2}</style>"
        print "<rect x=\"1\" y=\"1\" width=\"" width - 2 "\" height=\"" height - 2 "\" rx=\"8\" fill=\"#161b22\" stroke=\"#6e7681\"/>"
        for (i = 1; i <= count; i++) {
            text = lines[i]
            sub(/ +$/, "", text)
            gsub(/&/, "\\&amp;", text)
            gsub(/</, "\\&lt;", text)
            gsub(/>/, "\\&gt;", text)
            if (text == "") continue
            class = ""
            if (text ~ /^\$ /) class = " class=\"in\""
            else if (text ~ /^ *step .*(stage|container)|^STATUS /) class = " class=\"head\""
            else {
                gsub(/(✓ passed| equal( |$))/, "<tspan class=\"good\">&</tspan>", text)
                gsub(/(✗|!) (failed|errored) /, "<tspan class=\"bad\">&</tspan>", text)
                gsub(/^(K6 steps sync completed|all [0-9]+ containers are as recorded)$/, "<tspan class=\"good\">&</tspan>", text)
            }
            print "<text x=\"20\" y=\"" i * 18 + 16 "\" xml:space=\"preserve\"" class ">" text "</text>"
        }
        print "</svg>"
    }
' "$output" > docs/images/demo.svg
