//! What k6 says. Pure: codes and text in, values out; it knows neither cluster nor database, and the verdict asks it.

mod exit_codes;
mod log;

pub(crate) use self::exit_codes::{Outcome, exit_code};
pub(crate) use self::log::{last_error, max_vus};
