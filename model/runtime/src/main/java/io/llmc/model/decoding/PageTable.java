// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import java.util.Arrays;

/// Which pages hold a sequence's keys and values in the layers of one kind.
final class PageTable {
    private final PagePool.Kind kind;
    private int[] pages = new int[8];

    /// Pages of the sequence, those that are gone included.
    private int count;

    /// The first ones, which no later query sees: their entries are -1.
    private int gone;

    PageTable(PagePool.Kind kind) {
        this.kind = kind;
    }

    /// The pages of the sequence's first `tokens` tokens.
    int[] first(int tokens) {
        return Arrays.copyOf(pages, Math.ceilDiv(tokens, CacheSettings.PAGE));
    }

    /// Pages that `tokens` tokens need beyond those that are there.
    int missing(int tokens) {
        return Math.max(0, Math.ceilDiv(tokens, CacheSettings.PAGE) - count);
    }

    void grow(int tokens) {
        for (int more = missing(tokens); more > 0; more--) {
            add(kind.take());
        }
    }

    private void add(int page) {
        if (count == pages.length) {
            pages = Arrays.copyOf(pages, 2 * count);
        }
        pages[count++] = page;
    }

    /// Gives back what no query at `position` or behind it sees.
    void release(int position) {
        if (kind.window() == 0) {
            return;
        }
        int first = Math.max(0, position - kind.window() + 1);
        for (; gone < count && (gone + 1) * CacheSettings.PAGE <= first; gone++) {
            kind.give(pages[gone]);
            pages[gone] = -1;
        }
    }

    void cut(int tokens) {
        int left = Math.ceilDiv(tokens, CacheSettings.PAGE);
        while (count > left) {
            int page = pages[--count];
            if (page >= 0) {
                kind.give(page);
            }
        }
        gone = Math.min(gone, count);
    }

    void clear() {
        cut(0);
    }

    /// The same pages for a sequence that begins alike.
    PageTable shared() {
        PageTable other = new PageTable(kind);
        for (int i = 0; i < count; i++) {
            if (pages[i] >= 0) {
                kind.share(pages[i]);
            }
            other.add(pages[i]);
        }
        other.gone = gone;
        return other;
    }

    /// Whether the next token goes to a page that others have, too.
    ///
    /// @param tokens that the sequence has
    boolean sharesLast(int tokens) {
        return tokens % CacheSettings.PAGE != 0 && kind.shared(page(tokens));
    }

    /// Puts a page of its own in the place of a token's.
    void replace(int token, int own) {
        int index = token / CacheSettings.PAGE;
        kind.give(pages[index]);
        pages[index] = own;
    }

    /// The page of a token.
    int page(int token) {
        return pages[token / CacheSettings.PAGE];
    }
}
