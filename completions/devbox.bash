# bash completion for devbox: asks devbox itself for the candidates

_devbox() {
    # bash splits at : and = too; image references and --flag=value are put together again
    local line=${COMP_LINE:0:COMP_POINT} words=() piece last i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        last=$((${#words[@]} - 1))
        if [[ $i == 0 || $line == [[:space:]]* ]]; then
            line=${line#"${line%%[![:space:]]*}"}
            last=$((last + 1))
            words[last]=
        fi
        # of the word at the cursor only what stands before it counts
        [[ $i == "$COMP_CWORD" ]] && piece=$line
        words[last]+=$piece
        line=${line#"$piece"}
    done

    # bash replaces only what follows the last : or =, so candidates lose what stands before that
    local quote= current=${words[last]} typed=$2 kept
    case $current in
        [\"\']*) quote=${current:0:1} current=${current:1} typed=${typed#[\"\']} ;;
    esac
    [[ $typed == [:=] ]] && typed=
    kept=${current%"$typed"}
    words[last]=$current

    local value
    COMPREPLY=()
    while IFS= read -r value; do
        value=${value%%$'\t'*}
        value=${value#"$kept"}
        [[ $quote || $value == '~'* ]] || printf -v value %q "$value"
        COMPREPLY+=("$value")
    done < <(DEVBOX_COMPLETE=$last devbox "${words[@]}" 2>/dev/null)

    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[/=:] ]]; then
        compopt -o nospace
    elif [[ ${#COMPREPLY[@]} == 0 && ${words[1]} == run ]]; then
        compopt -o default
    fi
}

complete -o nosort -F _devbox devbox
