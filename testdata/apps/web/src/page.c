#include "page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#ifndef VERSION
#define VERSION "dev"
#endif

void page_add(struct page *page, const char *text, size_t len) {
    if (page->failed) return;
    if (page->len + len + 1 > page->size) {
        size_t size = (page->len + len + 1) * 2;
        char *bigger = realloc(page->text, size);
        if (!bigger) {
            page->failed = 1;
            return;
        }
        page->text = bigger;
        page->size = size;
    }
    memcpy(page->text + page->len, text, len);
    page->len += len;
    page->text[page->len] = '\0';
}

void page_text(struct page *page, const char *text) { page_add(page, text, strlen(text)); }

void page_escaped(struct page *page, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '&': page_text(page, "&amp;"); break;
        case '<': page_text(page, "&lt;"); break;
        case '>': page_text(page, "&gt;"); break;
        case '"': page_text(page, "&quot;"); break;
        default: page_add(page, text, 1);
        }
    }
}

void page_number(struct page *page, size_t number) {
    char text[24];
    snprintf(text, sizeof text, "%zu", number);
    page_text(page, text);
}

void page_free(struct page *page) {
    free(page->text);
    *page = (struct page){0};
}

static void add_entry(const char *ship, enum log_event event, void *data) {
    struct page *page = data;
    page_text(page, "<li class=\"");
    page_text(page, event == LOG_ARRIVED ? "arrived\">" : "left\">");
    page_escaped(page, ship);
    page_text(page, event == LOG_ARRIVED ? " arrived</li>\n" : " left</li>\n");
}

void page_render(struct page *page, const char *template, size_t len) {
    const char *end = template + len;
    while (template < end) {
        const char *open = memmem(template, (size_t)(end - template), "{{", 2);
        const char *close = open ? memmem(open, (size_t)(end - open), "}}", 2) : NULL;
        if (!close) break;
        page_add(page, template, (size_t)(open - template));
        size_t name = (size_t)(close - open) - 2;
        if (name == 7 && !memcmp(open + 2, "entries", 7)) log_each(add_entry, page);
        if (name == 5 && !memcmp(open + 2, "count", 5)) page_number(page, log_count());
        if (name == 7 && !memcmp(open + 2, "harbour", 7)) page_number(page, log_in_harbour());
        if (name == 7 && !memcmp(open + 2, "version", 7)) page_text(page, VERSION);
        template = close + 2;
    }
    page_add(page, template, (size_t)(end - template));
}
