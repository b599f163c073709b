//! The pages of a long answer: which URL the next page has.

use super::failure;
use super::redirect::next_page;
use crate::core::{PollFailure, PollFailureReason};
use crate::mapping::Page;
use crate::mapping::definition::Pages;
use crate::text::push_segment;
use ureq::http::HeaderMap;

/// The most pages of one answer.
pub const PAGES_MAX: u32 = 100;

/// How far a long answer has been read.
#[derive(Debug)]
pub struct Paging<'a> {
    pages: Option<&'a Pages>,
    /// Without the parameters of a page.
    url: &'a str,
    /// Elements so far.
    elements: u64,
    /// Pages so far.
    read: u32,
    cursor: Option<Box<str>>,
    elsewhere: Option<String>,
}

impl<'a> Paging<'a> {
    /// The beginning of the answer from this URL.
    pub fn new(url: &'a str, pages: Option<&'a Pages>) -> Self {
        Paging {
            pages,
            url,
            elements: 0,
            read: 0,
            cursor: None,
            elsewhere: None,
        }
    }

    /// The URL of the first page.
    pub fn first(&self) -> String {
        self.url()
    }

    /// The URL of the next page, if there is one. `url` is the URL of the present `page`, whose answer had these `headers`.
    ///
    /// # Errors
    /// What the API names as its next page is no URL.
    pub fn next(
        &mut self,
        page: &Page,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Option<String>, PollFailure> {
        match self.pages {
            None => Ok(None),
            Some(Pages::Link) => {
                let next = next_page(url, headers).transpose();
                let next = next.map_err(|why| failure(PollFailureReason::Redirect, &why))?;
                Ok(next.map(|next| {
                    self.elsewhere = self.elsewhere.take().or(next.elsewhere);
                    next.url
                }))
            }
            Some(pages) => Ok(self.go_on(pages, page).then(|| self.url())),
        }
    }

    /// The scheme, host and port of a next page that the API placed on another host.
    pub fn elsewhere(&mut self) -> Option<String> {
        self.elsewhere.take()
    }

    fn url(&self) -> String {
        let mut url = self.url.to_owned();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
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

    /// Counts a page that was read. Returns whether there is a next one.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::pointer::Pointer;

    /// A list of runs has the empty text as it is; a mapping has left it out already.
    #[test]
    fn an_empty_cursor_ends_the_answer() {
        let by_cursor = Pages::Cursor {
            param: "token".into(),
            next: Pointer::default(),
        };
        let mut paging = Paging::new("http://api/x?y=1", Some(&by_cursor));
        let mut next = |cursor: &str| {
            let page = Page {
                next: Some(cursor.into()),
                ..Page::default()
            };
            paging.next(&page, "", &HeaderMap::new()).unwrap()
        };
        assert_eq!(next("a&b").as_deref(), Some("http://api/x?y=1&token=a%26b"));
        assert_eq!(next(""), None);
    }
}
