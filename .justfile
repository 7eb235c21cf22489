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

deny:
    cargo deny --config .deny.toml check

release:
    cargo build --release --locked

deb:
    .packaging/deb
