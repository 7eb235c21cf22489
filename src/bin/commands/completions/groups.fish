
# The names of groups, and the paths that are watched.
complete -c fsmon -n "__fish_seen_subcommand_from COMMANDS" -f -a "(fsmon list-groups 2>/dev/null)"
complete -c fsmon -n "__fish_seen_subcommand_from remove" -l path -x -a "(fsmon list-monitored-paths 2>/dev/null)"
