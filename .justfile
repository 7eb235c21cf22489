# One-liners that can also be pasted; nothing needs just.

check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps

test:
    cargo test

test-root:
    sudo -E env "PATH=$PATH" "HOME=$HOME" FSMON_TEST_ROOT=require cargo test --target-dir target/root

ci:
    sudo -E env "PATH=$PATH" "HOME=$HOME" CARGO_TARGET_DIR=target/root .ci/run

# One edge of tests/fuzz/bodies, for so many seconds: just fuzz line 600
fuzz edge seconds:
    mkdir -p target/fuzz/corpus/{{edge}}
    TMPDIR=/dev/shm cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz -s none {{edge}} target/fuzz/corpus/{{edge}} tests/data/fuzz/{{edge}} -- -max_total_time={{seconds}} -rss_limit_mb=2048 -timeout=10 -artifact_prefix=target/fuzz/

# Compiles the fuzz targets, so that they do not rot; no nightly needed.
fuzz-check:
    cargo clippy --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz --all-targets -- -D warnings

deny:
    cargo deny --config .deny.toml check

release:
    cargo build --release --locked

deb:
    .packaging/deb
