// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.generation.Generation;
import io.llmc.pipeline.generation.TokenScore;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// One prompt and what it was continued with, for programs.
///
/// @param prompt as the model reads it
/// @param promptTokens of it
public record GenerationReport(
        String prompt, int promptTokens, Generation generation, Tokenizer tokenizer) {
    private static final ObjectMapper JSON = new ObjectMapper();

    public SequencedMap<String, Object> json() {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("prompt", prompt);
        json.put("text", generation.text());
        json.put("prompt_tokens", promptTokens);
        json.put("tokens", generation.ids().length);
        json.put("finish_reason", Options.spelling(generation.finish()));
        if (!generation.scores().isEmpty()) {
            json.put("logprobs", generation.scores().stream().map(this::score).toList());
        }
        return json;
    }

    /// Without its end.
    public String line() {
        try {
            return JSON.writeValueAsString(json());
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private SequencedMap<String, Object> score(TokenScore score) {
        SequencedMap<String, Object> json = token(score.id(), score.logprob());
        List<Object> top = new ArrayList<>();
        for (int k = 0; k < score.top().length; k++) {
            top.add(token(score.top()[k], score.topLogprobs()[k]));
        }
        if (!top.isEmpty()) {
            json.put("top", top);
        }
        return json;
    }

    private SequencedMap<String, Object> token(int id, double logprob) {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("id", id);
        json.put("token", tokenizer.decode(new int[] {id}));
        json.put("logprob", logprob);
        return json;
    }
}
