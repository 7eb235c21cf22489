
# The names of groups, and the paths that are watched.
_fsmon_asking() {
    local -a asked
    if (( CURRENT > 2 )) && [[ ${words[CURRENT]} != -* ]]; then
        if [[ ${words[2]} == remove && ${words[CURRENT-1]} == --path ]]; then
            asked=(${(f)"$(_call_program paths ${words[1]} list-monitored-paths 2>/dev/null)"})
            compadd -X 'watched path' -a asked
            return
        elif [[ " COMMANDS " == *" ${words[2]} "* && ${words[CURRENT-1]} != -* ]]; then
            asked=(${(f)"$(_call_program groups ${words[1]} list-groups 2>/dev/null)"})
            compadd -X 'group' -a asked
        fi
    fi
    _fsmon "$@"
}

if [ "$funcstack[1]" = "_fsmon" ]; then
    _fsmon_asking "$@"
else
    compdef _fsmon_asking fsmon
fi
