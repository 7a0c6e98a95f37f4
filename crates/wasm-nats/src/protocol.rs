//! What nodes decide, without a network and without a clock: the same code runs against NATS
//! and in the simulation of the tests.

pub mod balance;
pub mod desk;
pub mod lease;
pub mod taken;
