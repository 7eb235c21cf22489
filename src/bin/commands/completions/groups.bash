
# The names of groups, and the paths that are watched.
_fsmon_asking() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} word asked=
    _fsmon "$@"
    [[ $COMP_CWORD -ge 2 && $cur != -* ]] || return 0
    # What only says that an argument stands here is nothing to type.
    local found=("${COMPREPLY[@]}")
    COMPREPLY=()
    for word in "${found[@]}"; do
        [[ $word == [[\<]* || $word == -* ]] || COMPREPLY+=("$word")
    done
    if [[ "${COMP_WORDS[1]} $before" == "remove --path" ]]; then
        asked=list-monitored-paths
        COMPREPLY=()
    elif [[ " COMMANDS " == *" ${COMP_WORDS[1]} "* && $before != -* ]]; then
        asked=list-groups
    fi
    [[ $asked ]] || return 0
    while IFS= read -r word; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$(printf %q "$word")")
    done < <("${COMP_WORDS[0]}" "$asked" 2>/dev/null)
    return 0
}

complete -F _fsmon_asking -o nosort -o bashdefault -o default fsmon 2>/dev/null ||
    complete -F _fsmon_asking -o bashdefault -o default fsmon
