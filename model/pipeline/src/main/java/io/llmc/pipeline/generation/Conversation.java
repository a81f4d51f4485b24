// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.model.decoding.Sequence;
import io.llmc.tokenizer.ChatTemplate;
import io.llmc.tokenizer.ChatTemplate.Message;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// A conversation through a model's chat template. What the cache holds of it is not computed
/// again.
public final class Conversation implements AutoCloseable {
    private final Generator generator;
    private final ChatTemplate template;
    private final List<Message> messages = new ArrayList<>();

    private Sequence sequence;

    /// What the sequence begins with.
    private int[] cached = new int[0];

    private int turns;

    /// @param system what the model is told first; empty for what its template says itself
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public Conversation(Generator generator, ChatTemplate template, Optional<String> system) {
        this.generator = generator;
        this.template = template;
        this.sequence = generator.decoder().sequence();
        system.ifPresent(text -> messages.add(new Message("system", text)));
    }

    /// The conversation so far.
    public List<Message> messages() {
        return List.copyOf(messages);
    }

    /// Says something and has it answered; where that fails, nothing has been said.
    ///
    /// @throws io.llmc.formats.UserException where the conversation has become too long
    /// @throws io.llmc.formats.FormatException where the template refuses it
    public Generation say(String text, GenerationListener listener) {
        List<Message> asked = new ArrayList<>(messages);
        asked.add(new Message("user", text));
        int[] prompt = generator.tokenizer().encode(template.render(asked), false);
        Course course = generator.course(turns, prompt, listener);
        keep(prompt);
        cached = prompt;
        course.begin(sequence);
        generator.finish(course);
        cached = course.ids();
        turns++;
        Generation answer = course.generation();
        messages.clear();
        messages.addAll(asked);
        messages.add(new Message("assistant", answer.text()));
        return answer;
    }

    /// Leaves in the cache what a prompt begins with, but not all of it: its last token is fed.
    @SuppressWarnings("MustBeClosed") // closed with the conversation
    private void keep(int[] prompt) {
        int most = Math.min(Math.min(sequence.length(), cached.length), prompt.length - 1);
        int mismatch = Arrays.mismatch(cached, 0, most, prompt, 0, most);
        int same = mismatch < 0 ? most : mismatch;
        if (sequence.allows(same)) {
            sequence.truncate(same);
        } else {
            sequence.close();
            sequence = generator.decoder().sequence();
        }
    }

    @Override
    public void close() {
        sequence.close();
    }
}
