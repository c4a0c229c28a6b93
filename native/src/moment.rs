//! Dates, times and timestamps as ISO 8601, in the words of Python's `isoformat`; years 1 to 9999.

use std::io::Write;

use crate::walk::Refused;

const DAY_US: i64 = 86_400_000_000;
/// Days from the first of March of year 0 to the first of January 1970.
const SHIFT: i64 = 719_468;
/// Days of 400 years.
const ERA: i64 = 146_097;

/// Days since 1970.
pub fn date(days: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
    let days = days.checked_add(SHIFT).ok_or(Refused)?;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if !(1..=9999).contains(&year) {
        return Err(Refused);
    }
    write!(out, "{year:04}-{month:02}-{day:02}").map_err(|_| Refused)
}

/// Microseconds since midnight.
pub fn time(us: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
    if !(0..DAY_US).contains(&us) {
        return Err(Refused);
    }
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    write!(out, "{hour:02}:{minute:02}:{second:02}").map_err(|_| Refused)?;
    if us == 0 { Ok(()) } else { write!(out, ".{us:06}").map_err(|_| Refused) }
}

/// Microseconds since 1970.
pub fn timestamp(us: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
    date(us.div_euclid(DAY_US), out)?;
    out.push(b'T');
    time(us.rem_euclid(DAY_US), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Vec<u8>) -> Result<(), Refused>) -> Option<String> {
        let mut out = Vec::new();
        write(&mut out).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, wanted) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
            (-719_162, "0001-01-01"),
            (2_932_896, "9999-12-31"),
        ] {
            assert_eq!(text(|out| date(days, out)).as_deref(), Some(wanted));
        }
        for beyond in [-719_163, 2_932_897, i64::MIN, i64::MAX] {
            assert_eq!(text(|out| date(beyond, out)), None);
        }
    }

    #[test]
    fn a_fraction_is_written_where_there_is_one() {
        assert_eq!(text(|out| time(DAY_US - 1, out)).as_deref(), Some("23:59:59.999999"));
        assert_eq!(text(|out| time(22_000, out)).as_deref(), Some("00:00:00.022000"));
        assert_eq!(text(|out| time(DAY_US, out)), None);
        assert_eq!(text(|out| time(-1, out)), None);
        assert_eq!(text(|out| timestamp(-1, out)).as_deref(), Some("1969-12-31T23:59:59.999999"));
        assert_eq!(text(|out| timestamp(1_000_000, out)).as_deref(), Some("1970-01-01T00:00:01"));
    }
}
