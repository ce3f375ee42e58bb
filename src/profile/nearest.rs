//! The known word nearest to a mistyped one, for `did you mean`.

/// The word of `known` within a third of `typed`'s length in edits (at least one), the nearest first.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = typed.chars().take(LONGEST + 1).collect();
    if letters.len() > LONGEST {
        return None;
    }
    let allowed = (letters.len() / 3).max(1);
    known
        .into_iter()
        .map(|word| (distance(&letters, &word.chars().collect::<Vec<_>>()), word))
        .filter(|(edits, word)| *edits <= allowed && *edits < word.len())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Longer words are not worth the square of their length.
const LONGEST: usize = 64;

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before = vec![0; other.len() + 1];
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, &letter) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, &wanted) in other.iter().enumerate() {
            let mut edits = (last[column] + usize::from(letter != wanted))
                .min(last[column + 1] + 1)
                .min(line[column] + 1);
            if row > 0 && column > 0 && letter == other[column - 1] && one[row - 1] == wanted {
                edits = edits.min(before[column - 1] + 1);
            }
            line.push(edits);
        }
        before = std::mem::replace(&mut last, line);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["image", "extends", "mode", "mounts", "env", "env-from-host", "ids", "ro", "rw"];
        for (typed, expected) in [
            ("imge", Some("image")),
            ("iamge", Some("image")),
            ("Image", Some("image")),
            ("mount", Some("mounts")),
            ("env_from_host", Some("env-from-host")),
            ("id", Some("ids")),
            ("rx", Some("ro")),
            ("x", None),
            ("", None),
            ("volumes", None),
        ] {
            assert_eq!(nearest(typed, known), expected, "{typed}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), known), None);
    }
}
