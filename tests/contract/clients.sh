#!/bin/sh
# Clients made from the API description: TypeScript is compiled, Kotlin, Swift and Dart are made.
# What is missing on this machine is skipped, and said. The last three are made only of a description
# that none were made of before: `clients.sum`, which this writes, names the one they were made of.
set -eu
cd "$(dirname "$0")/../.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
generator=7.26.0

skip() {
    echo "skipped: $1"
}

DEBUG=1 VAR_DIR="$made/var" .venv/bin/python manage.py write_openapi --to "$made/openapi.json"

typescript() (
    cd tests/contract/typescript
    if [ "$(cat node_modules/.sum 2>/dev/null)" != "$(cksum package-lock.json)" ]; then
        npm ci --silent --no-audit --no-fund || return 1
        cksum package-lock.json >node_modules/.sum
    fi
)

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    skip "no node, so no TypeScript client"
elif ! typescript; then
    skip "npm cannot install its packages here, so no TypeScript client"
else
    bin=tests/contract/typescript/node_modules/.bin
    $bin/openapi-typescript "$made/openapi.json" --default-non-nullable=false \
        --output tests/contract/typescript/generated/schema.d.ts >/dev/null
    $bin/tsc --project tests/contract/typescript
    echo "TypeScript: compiles"
fi

described=$(echo "$generator" | cat - "$made/openapi.json" | cksum)
if [ "$(cat tests/contract/clients.sum 2>/dev/null)" = "$described" ]; then
    echo "Kotlin, Swift and Dart: made of this description before"
elif ! java -version >/dev/null 2>&1; then
    skip "no Java, so no Kotlin, Swift and Dart clients"
elif ! { .venv/bin/python -m venv "$made/venv" &&
    "$made/venv/bin/pip" install --quiet --disable-pip-version-check \
        "openapi-generator-cli==$generator" 2>"$made/pip.log"; }; then
    skip "the generator cannot be installed here, so no Kotlin, Swift and Dart clients"
else
    for language in kotlin swift6 dart-dio; do
        if ! "$made/venv/bin/openapi-generator-cli" generate --generator-name $language \
            --input-spec "$made/openapi.json" --output "$made/$language" >"$made/log" 2>&1; then
            cat "$made/log"
            exit 1
        fi
        echo "$language: made"
    done
    echo "$described" >tests/contract/clients.sum
fi
