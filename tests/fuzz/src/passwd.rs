//! An image's `passwd`, `group` and `User`: nobody becomes root by a text that does not say so.

#![no_main]

use devbox::plan::resolve::Accounts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (passwd, group, user) = texts;
    let Ok(accounts) = Accounts::new(passwd, group) else { return };
    if let Ok(account) = accounts.find(user) {
        assert!(account.home.is_absolute(), "{account:?}");
        let who = user.split(':').next().unwrap_or_default();
        let says = |uid: &str| uid.trim_start_matches('0').is_empty() && !uid.is_empty();
        let root = passwd.lines().any(|line| line.split(':').nth(2).is_some_and(says));
        assert!(account.uid != 0 || root || says(who), "{account:?} of {user:?}");
    }
});
