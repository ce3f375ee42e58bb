//! `devbox config`: what a profile comes to, and how profiles are written.

use serde_json::{Map, Value, json};

use super::{driver, remembered};
use crate::cli::{ConfigArgs, ConfigFormat, ConfigVerb, PlanFlags, ShowArgs};
use crate::dirs::{self, Dirs};
use crate::error::{Error, ExitCode};
use crate::probe;
use crate::profile::settings::{self, Setting, Whence, to_toml};
use crate::profile::{self, Selector};
use crate::ui::Ui;

pub(super) fn run(
    ui: &Ui,
    dirs: impl Fn() -> Result<Dirs, dirs::Error>,
    args: ConfigArgs,
) -> Result<ExitCode, Error> {
    match args.verb {
        ConfigVerb::Show(args) => show(ui, &dirs()?, args)?,
        ConfigVerb::Schema => ui.json(&profile::schema())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(ui: &Ui, dirs: &Dirs, args: ShowArgs) -> Result<(), Error> {
    let cwd = dirs::current().map_err(probe::Error::CurrentFolder)?;
    let mut flags = PlanFlags { profile: args.profile, ..PlanFlags::default() };
    let selector = match &args.target {
        Some(name) => remembered(dirs, name, &mut flags)?,
        None => None,
    };
    let selector = selector.unwrap_or_else(|| flags.selector(args.target.as_deref()));
    let mut settings = settings::settings(dirs, &selector, &cwd)?;
    if let (Selector::Nothing, Some(image), Some(name)) = (&selector, &flags.image, &flags.name) {
        set(&mut settings, "image", &image.to_string(), &format!("box {name}"));
    }
    // over the host's own root there is no driver to choose
    let on_host = |setting: &Setting| setting.key == "image" && setting.value.as_str() == Some("host");
    if let Some(usual) = driver::usual()?
        && !settings.iter().any(on_host)
    {
        set(&mut settings, "driver", &usual.to_string(), driver::VARIABLE);
    }
    match args.format {
        ConfigFormat::Toml => ui.text(&to_toml(&settings, args.origin))?,
        ConfigFormat::Json if args.origin => ui.json(&settings)?,
        ConfigFormat::Json => ui.json(&tree(&settings))?,
    }
    Ok(())
}

/// Gives the key `key`, at the top, a value that no file has.
fn set(settings: &mut Vec<Setting>, key: &str, value: &str, place: &str) {
    let is_key = |setting: &Setting| setting.table.is_empty() && setting.key == key;
    let at = settings.iter().position(is_key);
    settings.retain(|setting| !is_key(setting));
    let setting = Setting {
        table: "",
        key: key.to_owned(),
        value: toml::Value::String(value.to_owned()),
        is_item: false,
        from: Whence { place: place.to_owned(), ..Whence::default() },
    };
    settings.insert(at.unwrap_or_default(), setting);
}

/// The profile as one object.
fn tree(settings: &[Setting]) -> Value {
    let mut top = Map::new();
    for Setting { table, key, value, is_item, .. } in settings {
        let mut parts = table.split('.').filter(|part| !part.is_empty());
        let place = parts
            .try_fold(&mut top, |place, part| place.entry(part).or_insert_with(|| json!({})).as_object_mut());
        let (Some(place), value) = (place, json!(value)) else { continue };
        match is_item {
            true => {
                let list = place.entry(key).or_insert_with(|| json!([])).as_array_mut();
                list.into_iter().for_each(|list| list.push(value.clone()));
            }
            false => _ = place.insert(key.clone(), value),
        }
    }
    Value::Object(top)
}
