//! The pages of a long answer: which request the next page has. A parameter is in the body where the body names it, else
//! in the URL.

use super::redirect::next_page;
use super::{Filled, failure};
use crate::core::{PollFailure, PollFailureReason};
use crate::mapping::Page;
use crate::mapping::definition::Pages;
use crate::syntax::text::push_segment;
use serde_json::Value;
use std::borrow::Cow;
use ureq::http::HeaderMap;

/// The most pages of one answer.
pub const PAGES_MAX: u32 = 100;

/// How far a long answer has been read.
#[derive(Debug)]
pub struct Paging<'a> {
    pages: Option<&'a Pages>,
    request: &'a Filled,
    /// Elements so far.
    elements: u64,
    /// Pages so far.
    read: u32,
    cursor: Option<Box<str>>,
    elsewhere: Option<String>,
}

/// The request for one page.
#[derive(Debug)]
pub struct PageRequest<'a> {
    /// The URL.
    pub url: Cow<'a, str>,
    /// The body; `None`: it is a GET.
    pub body: Option<Vec<u8>>,
}

impl<'a> Paging<'a> {
    /// The beginning of the answer to this request.
    pub fn new(request: &'a Filled, pages: Option<&'a Pages>) -> Self {
        Paging {
            pages,
            request,
            elements: 0,
            read: 0,
            cursor: None,
            elsewhere: None,
        }
    }

    /// The request for the first page.
    pub fn first(&self) -> PageRequest<'a> {
        self.request()
    }

    /// The request for the next page, if there is one. `url` is the URL of the present `page`, whose answer had these
    /// `headers`.
    ///
    /// # Errors
    /// What the API names as its next page is no URL.
    pub fn next(
        &mut self,
        page: &Page,
        url: &str,
        headers: &HeaderMap,
    ) -> Result<Option<PageRequest<'a>>, PollFailure> {
        match self.pages {
            None => Ok(None),
            Some(Pages::Link) => {
                let next = next_page(url, headers).transpose();
                let next = next.map_err(|why| failure(PollFailureReason::Redirect, &why))?;
                Ok(next.map(|next| {
                    self.elsewhere = self.elsewhere.take().or(next.elsewhere);
                    PageRequest {
                        url: next.url.into(),
                        ..self.request()
                    }
                }))
            }
            Some(pages) => Ok(self.go_on(pages, page).then(|| self.request())),
        }
    }

    /// The scheme, host and port of a next page that the API placed on another host.
    pub fn elsewhere(&mut self) -> Option<String> {
        self.elsewhere.take()
    }

    fn request(&self) -> PageRequest<'a> {
        let mut url = Cow::Borrowed(&*self.request.url);
        let mut body = self.request.body.clone();
        let mut set = |name: &str, value: Value| {
            if let Some(member) = body.as_mut().and_then(|body| member(body, name)) {
                *member = if member.is_string() {
                    text_of(&value).into()
                } else {
                    value
                };
                return;
            }
            let url = url.to_mut();
            url.push(if url.contains('?') { '&' } else { '?' });
            push_segment(url, name);
            url.push('=');
            push_segment(url, &text_of(&value));
        };
        match self.pages {
            None | Some(Pages::Link) => {}
            Some(Pages::Offset {
                offset,
                limit,
                size,
                ..
            }) => {
                set(limit, (*size).into());
                if self.elements > 0 {
                    set(offset, self.elements.into());
                }
            }
            Some(Pages::Page {
                page,
                limit,
                size,
                first,
                ..
            }) => {
                set(limit, (*size).into());
                set(page, (first + self.read).into());
            }
            Some(Pages::Cursor { param, .. }) => {
                if let Some(cursor) = &self.cursor {
                    set(param, (**cursor).into());
                }
            }
        }
        let body = body.map(|body| body.to_string().into_bytes());
        PageRequest {
            url,
            body: body.or_else(|| self.request.is_post.then(Vec::new)),
        }
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

/// The member of a body that has this name: its own, or one of its `variables`, as GraphQL has them.
fn member<'b>(body: &'b mut Value, name: &str) -> Option<&'b mut Value> {
    if body.get(name).is_some() {
        return body.get_mut(name);
    }
    body.get_mut("variables")?.get_mut(name)
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
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
        let request = Filled {
            url: "http://api/x?y=1".to_owned(),
            is_post: false,
            body: None,
        };
        let mut paging = Paging::new(&request, Some(&by_cursor));
        let mut next = |cursor: &str| {
            let page = Page {
                next: Some(cursor.into()),
                ..Page::default()
            };
            let next = paging.next(&page, "", &HeaderMap::new()).unwrap();
            next.map(|next| next.url)
        };
        assert_eq!(next("a&b").as_deref(), Some("http://api/x?y=1&token=a%26b"));
        assert_eq!(next(""), None);
    }
}
