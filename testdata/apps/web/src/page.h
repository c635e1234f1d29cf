/* Text that grows, and the page made with it. */
#ifndef PAGE_H
#define PAGE_H

#include <stddef.h>

struct page {
    char *text;
    size_t len, size;
    int failed; /* no memory: the page is not to be sent */
};

void page_add(struct page *page, const char *text, size_t len);
void page_text(struct page *page, const char *text);
void page_escaped(struct page *page, const char *text); /* as HTML text */
void page_number(struct page *page, size_t number);
void page_free(struct page *page);

/* The template with {{entries}}, {{count}}, {{harbour}} and {{version}} filled in. */
void page_render(struct page *page, const char *template, size_t len);

#endif
