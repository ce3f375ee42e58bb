# fish completion for devbox: asks devbox itself for the candidates

function __devbox_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    set -l found (DEVBOX_COMPLETE=(count $words) command devbox $words "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else if test "$words[2]" = run
        __fish_complete_path "$current"
    end
end

complete --command devbox --keep-order --no-files --arguments '(__devbox_complete)'
