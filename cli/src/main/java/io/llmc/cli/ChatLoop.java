// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.Progress;
import io.llmc.pipeline.generation.Conversation;
import io.llmc.pipeline.generation.Generator;
import io.llmc.tokenizer.ChatTemplate;
import io.llmc.tokenizer.ChatTemplate.Message;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;

/// A conversation with whoever writes to standard input, a line at a time, until that ends.
record ChatLoop(Wiring wiring, Console console, Progress progress) {
    private static final String ASKING = "> ";

    void run(Generator generator, ChatTemplate template, Optional<String> system) {
        List<Message> messages;
        try (Conversation talk = new Conversation(generator, template, system)) {
            for (String line = ask(); line != null; line = ask()) {
                if (!line.isBlank()) {
                    Pace pace = new Pace(System::nanoTime);
                    talk.say(line, new Streamed(console, pace));
                    console.piece("\n");
                    progress.note(pace.sentence());
                }
            }
            messages = talk.messages();
        }
        console.result("", Map.of("messages", messages.stream().map(ChatLoop::json).toList()));
    }

    private static SequencedMap<String, Object> json(Message message) {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("role", message.role());
        json.put("content", message.content());
        return json;
    }

    /// The next line; null behind the last.
    private String ask() {
        if (wiring.columns() > 0) {
            wiring.err().print(ASKING);
            wiring.err().flush();
        }
        try {
            return wiring.in().readLine();
        } catch (IOException e) {
            throw new UncheckedIOException("cannot read standard input: " + e.getMessage(), e);
        }
    }
}
