//! One timer for all that a task has to do at some time.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Set to no later than whatever is due next. It is not set anew for what is due later,
    /// which mostly is moved on before it comes.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ends at this time or before, and never without one. Whoever is woken looks what is due.
    /// May be cancelled by dropping the future.
    pub(crate) async fn until(&mut self, due: Option<Instant>) {
        let Some(due) = due else {
            return pending().await;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.is_elapsed() || due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_in_time_whatever_it_was_set_to_before() {
        let began = Instant::now();
        let after = |seconds| Some(began + Duration::from_secs(seconds));
        let mut alarm = Alarm::default();
        let patience = Duration::from_millis(1);
        timeout(patience, alarm.until(None)).await.unwrap_err();
        timeout(patience, alarm.until(after(9))).await.unwrap_err();
        alarm.until(after(3)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        timeout(patience, alarm.until(after(5))).await.unwrap_err();
        let mut woken = 0;
        while began.elapsed() < Duration::from_secs(7) {
            alarm.until(after(7)).await;
            woken += 1;
        }
        assert_eq!(woken, 2);
    }
}
