// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.util.Arrays;

/// The text of a sequence whose ids come one by one, in whole characters: what the bytes of a token
/// only begin is held back until others complete it. Special tokens have no text.
///
/// A token's text may depend on those before it (a blank that only begins a text is dropped, bytes
/// join), so a few ids before it are decoded with it, and their text is taken off.
public final class Detokenizer {
    /// Ids of the prompt that the first text is decoded with.
    private static final int CONTEXT = 5;

    /// What stands for bytes that are no character, or none yet.
    private static final char BROKEN = '\ufffd';

    /// A character has four bytes at most, and a decoder may write BROKEN for each of the first
    /// three.
    private static final int LONGEST_BEGINNING = 3;

    /// Ids that are waited for before bytes are taken for broken ones: some decoders write all
    /// bytes in a row as BROKEN while the last of them are no character.
    private static final int PATIENCE = 8;

    /// Bytes that never become characters are not carried along for ever.
    private static final int LONGEST_WINDOW = 64;

    private final Tokenizer tokenizer;
    private int[] window;
    private int count;

    /// Ids of the window whose text has been given.
    private int given;

    /// Characters of the window's text that have been given.
    private int shown;

    /// @param prompt ids before the first that is added
    public Detokenizer(Tokenizer tokenizer, int[] prompt) {
        this.tokenizer = tokenizer;
        String text = "";
        for (int more = 0; more <= LONGEST_BEGINNING; more++) {
            int from = Math.max(0, prompt.length - CONTEXT - more);
            window = Arrays.copyOfRange(prompt, from, prompt.length);
            count = window.length;
            text = text();
            // Otherwise the context begins inside of a character.
            if (text.indexOf(BROKEN) < 0) {
                break;
            }
        }
        given = count;
        shown = text.length();
    }

    /// What the text grows by; empty while a character is not whole.
    public String add(int id) {
        if (count == window.length) {
            window = Arrays.copyOf(window, 2 * count + 8);
        }
        window[count++] = id;
        String text = text();
        int broken = 0;
        while (broken < LONGEST_BEGINNING
                && broken < text.length()
                && text.charAt(text.length() - 1 - broken) == BROKEN) {
            broken++;
        }
        if (broken > 0 && count - given <= PATIENCE) {
            return "";
        }
        int whole = Math.max(shown, text.length() - broken);
        String more = shown < whole ? text.substring(shown, whole) : "";
        shown = whole;
        if (broken == 0 && !more.isEmpty() || count > LONGEST_WINDOW) {
            moveOn();
        }
        return more;
    }

    /// What has just been given becomes the context of what follows.
    private void moveOn() {
        System.arraycopy(window, given, window, 0, count - given);
        count -= given;
        given = count;
        shown = text().length();
    }

    private String text() {
        return tokenizer.decode(Arrays.copyOf(window, count), false);
    }
}
