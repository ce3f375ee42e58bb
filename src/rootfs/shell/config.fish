# Interactive fish in a box (--init-command), after the user's own files.

# fish keeps its history where this led to when it began; other programs shall not
if set -q DEVBOX_HISTORY
    set -e DEVBOX_HISTORY
    set -e XDG_DATA_HOME
    if set -q DEVBOX_XDG_DATA_HOME
        set -gx XDG_DATA_HOME $DEVBOX_XDG_DATA_HOME
        set -e DEVBOX_XDG_DATA_HOME
    end
end

# The devbox hook of the shell outside entered for it: `ID:FOLDER`, for this shell alone.
set -g __devbox_hook (string split -m 1 : -- "$DEVBOX_HOOK")
set -e DEVBOX_HOOK
set -g __devbox_at $PWD

if status is-interactive; and set -q DEVBOX; and test "$DEVBOX_PROMPT" != off
    # It stands before the prompt in all modes, and leaves the prompt its $status.
    functions -q fish_mode_prompt; and functions -c fish_mode_prompt __devbox_mode_prompt
    function fish_mode_prompt
        echo -n "[$DEVBOX] "
        functions -q __devbox_mode_prompt; and __devbox_mode_prompt
    end
end

if status is-interactive; and set -q __devbox_hook[2]
    # Ends the shell; the one outside goes on in folder $argv[1].
    function __devbox_leave
        if jobs -q
            test "$argv[1]" = "$__devbox_told"; or echo "devbox: box `$DEVBOX` is left when its jobs have ended (`jobs`)" >&2
            set -g __devbox_told $argv[1]
            return 1
        end
        printf %s $argv[1] >/run/devbox/state/left.$__devbox_hook[1]; and exit 0
    end

    # Whether folder $argv[1] is in another project than this, or in none.
    function __devbox_is_outside
        set -l folder $argv[1]
        while test "$folder" != "$__devbox_hook[2]"
            if not string match -q -- "$__devbox_hook[2]/*" $folder; or test -e $folder/devbox.toml
                return 0
            end
            set folder (string replace -r '/[^/]*$' '' -- $folder)
        end
        return 1
    end

    # A folder that the box does not have may be one outside.
    functions -c cd __devbox_cd
    function cd --wraps cd
        __devbox_cd $argv 2>/dev/null; and return
        if test (count $argv) != 1; or string match -q -- '-*' $argv[1]
            __devbox_cd $argv
            return
        end
        set -l path $argv[1]
        string match -q '/*' -- $path; or set path $PWD/$path
        set -l target
        for part in (string split / -- $path)
            switch $part
                case '' .
                case ..
                    set -e target[-1]
                case '*'
                    set -a target $part
            end
        end
        set target /(string join / -- $target)
        if string match -q -- "$__devbox_hook[2]/*" $target/; or not __devbox_leave $target
            __devbox_cd $argv
        end
    end

    function __devbox_prompt --on-event fish_prompt
        if test "$PWD" != "$__devbox_at"
            if __devbox_is_outside $PWD
                __devbox_leave $PWD
            else
                set -g __devbox_at $PWD
                set -g __devbox_told
            end
        end
    end
end
