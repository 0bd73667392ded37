//! The interactive front: a viewer of journals and a remote control of runners.
//!
//! [`App`] is everything a screen knows. [`update`] takes a [`Message`] in and says in [`Command`]s what the world is to do;
//! [`view::render`] draws. Both are plain functions of their arguments: no clock, no files, no terminal. [`feed`] carries
//! commands out and brings messages; [`terminal`] owns the real screen.

pub mod app;
pub mod config;
pub mod feed;
pub mod keymap;
pub mod message;
pub mod recording;
pub mod run;
pub mod snapshot;
pub mod terminal;
pub mod theme;
pub mod units;
mod update;
pub mod view;

pub use app::{App, Screen};
pub use message::{Command, Message};
pub use update::{step, update};
