# devbox hook for fish: enters the box of a project with its folder, and leaves it with it.
# In ~/.config/fish/config.fish:  command -q devbox; and devbox hook fish | source

function __devbox_hook --on-event fish_prompt
    # in a box, leaving is what the box's own start file does
    set -q DEVBOX; and return
    set -l lost
    while test "$PWD" != "$__devbox_seen"
        set -g __devbox_seen $PWD
        set -l root $PWD
        while test -n "$root"; and not test -e "$root/devbox.toml"
            set root (string replace -r '/[^/]*$' '' -- $root)
        end
        # entered once, whatever becomes of it, until the folder is left
        test "$root" != "$__devbox_project"; or break
        set -g __devbox_project $root
        test -n "$root"; or break
        command devbox enter --hook $fish_pid
        set -l target (command devbox hook --left $fish_pid); or break
        # a folder that is nowhere: back into the box, but once: what is in there may say so each time
        if not builtin cd -- $target
            test -z "$lost"; or break
            set lost yes
            set -g __devbox_project
        end
        set -g __devbox_seen
    end
end
