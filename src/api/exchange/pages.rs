//! How a long answer goes on.

use super::failure;
use super::redirect::next_page;
use crate::core::{PollFailure, PollFailureReason};
use crate::mapping::Page;
use crate::mapping::definition::Pages;
use crate::text::push_segment;
use ureq::http::HeaderMap;

/// Pages of one answer.
pub const PAGES_MAX: u32 = 100;

/// Where a long answer is being read.
#[derive(Debug)]
pub struct Place<'a> {
    pages: Option<&'a Pages>,
    /// Without the parameters of a page.
    url: &'a str,
    /// Elements so far.
    elements: u64,
    /// Pages so far.
    read: u32,
    cursor: Option<Box<str>>,
}

impl<'a> Place<'a> {
    /// At the beginning of what is asked for at this URL.
    pub fn new(url: &'a str, pages: Option<&'a Pages>) -> Self {
        Place {
            pages,
            url,
            elements: 0,
            read: 0,
            cursor: None,
        }
    }

    /// The URL of the first page.
    pub fn first(&self) -> String {
        self.url()
    }

    /// The URL of the page behind this one, if there is one. `url` is that of this page, as it was asked for, and
    /// `headers` came with it.
    ///
    /// # Errors
    /// It is on another host.
    pub fn next(
        &mut self,
        page: &Page,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Option<String>, PollFailure> {
        match self.pages {
            None => Ok(None),
            Some(Pages::Link) => next_page(url, headers)
                .transpose()
                .map_err(|why| failure(PollFailureReason::Redirect, &why)),
            Some(pages) => Ok(self.go_on(pages, page).then(|| self.url())),
        }
    }

    fn url(&self) -> String {
        let mut url = self.url.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(match url.contains('?') {
                true => '&',
                false => '?',
            });
            push_segment(&mut url, name);
            url.push('=');
            push_segment(&mut url, value);
        };
        match self.pages {
            None | Some(Pages::Link) => {}
            Some(Pages::Offset {
                offset,
                limit,
                size,
                ..
            }) => {
                add(limit, &size.to_string());
                if self.elements > 0 {
                    add(offset, &self.elements.to_string());
                }
            }
            Some(Pages::Page {
                page,
                limit,
                size,
                first,
                ..
            }) => {
                add(limit, &size.to_string());
                add(page, &(first + self.read).to_string());
            }
            Some(Pages::Cursor { param, .. }) => {
                if let Some(cursor) = &self.cursor {
                    add(param, cursor);
                }
            }
        }
        url
    }

    /// Goes to the next page. Whether there is one.
    fn go_on(&mut self, pages: &Pages, page: &Page) -> bool {
        self.elements += page.elements as u64;
        self.read += 1;
        match pages {
            Pages::Link => false,
            Pages::Cursor { .. } => {
                let again = self.cursor == page.next;
                self.cursor = page.next.clone().filter(|next| !next.is_empty());
                self.cursor.is_some() && !again
            }
            Pages::Offset { size, .. } | Pages::Page { size, .. } => match page.total {
                Some(total) => page.elements > 0 && self.elements < total,
                None => page.elements as u64 >= u64::from(*size),
            },
        }
    }
}
