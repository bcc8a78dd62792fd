//! From results to what people read; nothing here measures.

pub mod chart;
pub mod markdown;
pub mod pages;
