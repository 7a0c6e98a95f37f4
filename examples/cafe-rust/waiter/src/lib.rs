//! Takes orders to the kitchen, and money to the till: a request and its answer, and a message
//! that nobody answers.
//!
//! - `order DISH` asks the kitchen for it; the answer comes later, to `served`
//! - `status`: the latest news
//!
//! What the boss says ends the day.

use std::time::Duration;

use wasm_guest::{Answer, Component, Error, Message, Payload, Result, log, request, send};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Waiter {
    news: Option<String>,
    closed: Option<String>,
}

impl Waiter {
    fn tell(&mut self, news: String) {
        log!(info, "{news}");
        self.news = Some(news);
    }

    fn order(&self, dish: &str) -> String {
        if let Some(closed) = &self.closed {
            return format!("no more {dish}: {closed}");
        }
        match request("cafe-rust/kitchen/main", dish, PATIENCE) {
            Ok(order) => {
                let ordered = dish.to_owned();
                order.then(move |waiter: &mut Self, answer| waiter.served(&ordered, answer));
                format!("{dish} is ordered")
            }
            Err(error) => format!("no {dish}: {error}"),
        }
    }

    fn served(&mut self, dish: &str, answer: Answer) -> Result<()> {
        match answer.outcome {
            Ok(served) => {
                send("cafe-rust/till/main", "4")?;
                self.tell(format!("{} is served", served.text()?));
            }
            Err(error) => self.tell(format!("no {dish}: {error}")),
        }
        Ok(())
    }
}

impl Component for Waiter {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let said = message.payload.text()?;
        if message.sender.namespace == "cafe-rust" && message.sender.name == "boss" {
            self.closed = Some(said.to_owned());
            self.tell(format!("heard: {said}"));
            return Ok(None);
        }
        if let Some(dish) = said.strip_prefix("order ") {
            return Ok(Some(self.order(dish).into()));
        }
        match said {
            "status" => {
                let news = self.news.as_deref().unwrap_or("nothing to do");
                Ok(Some(news.into()))
            }
            _ => Err(Error::new("a waiter knows `order DISH` and `status`")),
        }
    }
}

wasm_guest::export!(Waiter);
