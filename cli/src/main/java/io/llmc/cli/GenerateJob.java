// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.Backend;
import io.llmc.cli.options.DeviceOptions.DeviceSpec;
import io.llmc.cli.options.GenerateOptions.Request;
import io.llmc.cli.report.GenerationReport;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.Models;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.Decoder;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.generation.Generation;
import io.llmc.pipeline.generation.GenerationListener;
import io.llmc.pipeline.generation.GenerationMemory;
import io.llmc.pipeline.generation.GenerationSettings;
import io.llmc.pipeline.generation.Generator;
import io.llmc.pipeline.generation.SpecialTokens;
import io.llmc.tokenizer.ChatTemplate;
import io.llmc.tokenizer.ChatTemplate.Message;
import io.llmc.tokenizer.PromptFile;
import io.llmc.tokenizer.PromptFile.Prompt;
import io.llmc.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Stream;

/// Opens a model, and has it continue what is asked for.
record GenerateJob(
        Wiring wiring, Console console, DeviceSpec device, Models models, Request request) {
    /// Tokens of a prompt that go through the model at once.
    private static final int ROWS = 512;

    /// Tokens by which the next turn of a conversation may differ from what is cached, and go on.
    private static final int UNDONE = 64;

    /// @param options of sampling
    void run(Options options) {
        List<Inputs.Input> read =
                new ArrayList<>(List.of(new Inputs.Input("the model", models.main(), true)));
        request.prompts().ifPresent(f -> read.add(new Inputs.Input("the prompts", f, true)));
        console.requireUnread(Inputs.of(read));
        Progress progress = console.progress();
        try (Checkpoint c = models.open(models.main(), progress::note);
                Tokenizer tokenizer = Tokenizer.open(c)) {
            SpecialTokens special = SpecialTokens.of(c);
            GenerationSettings settings =
                    GenerationSettings.read(options, special.ends(), request.stops());
            ModelSpec spec = Architectures.specOf(c);
            List<Prompt> prompts = prompts(c);
            List<int[]> ids = prompts.stream().map(p -> special.prompt(tokenizer, p)).toList();
            CacheSettings cache = cache(ids, spec.maxPositions(), settings.maxTokens());
            try (Backend backend = wiring.devices().open(device, progress)) {
                new GenerationMemory(c, spec, backend)
                        .require(cache, device.options().memory(), remedy());
                try (Decoder decoder = Decoder.open(c, spec, backend, cache)) {
                    Generator generator = new Generator(decoder, tokenizer, settings);
                    if (request.isConversation()) {
                        new ChatLoop(wiring, console, progress)
                                .run(generator, template(c), request.system());
                    } else if (request.prompts().isPresent()) {
                        batch(prompts, ids, generator, tokenizer, progress);
                    } else {
                        one(prompts.getFirst(), ids, generator, tokenizer, progress);
                    }
                }
            }
        }
    }

    private String remedy() {
        return request.isConversation()
                ? "lower --context"
                : request.prompts().isPresent()
                        ? "lower {maxTokens} or --batch"
                        : "lower {maxTokens}";
    }

    private ChatTemplate template(Checkpoint c) {
        return ChatTemplate.open(c)
                .orElseThrow(() ->
                        new UserException(
                                "%s has no chat template".formatted(c.directory()),
                                "leave --chat out, or put the chat_template.jinja of its"
                                        + " instruction-tuned version there"));
    }

    /// None for a conversation.
    private List<Prompt> prompts(Checkpoint c) {
        List<Prompt> given =
                request.prompts()
                        .map(file -> PromptFile.read(file, c))
                        .or(() -> request.prompt().map(p -> List.of(new Prompt(p, false))))
                        .orElse(List.of());
        if (!request.chat()) {
            return given;
        }
        ChatTemplate template = template(c);
        return given.stream()
                .map(p -> p.isChat() ? p : new Prompt(template.render(asked(p)), true))
                .toList();
    }

    private List<Message> asked(Prompt prompt) {
        return Stream.concat(
                        request.system().stream().map(text -> new Message("system", text)),
                        Stream.of(new Message("user", prompt.text())))
                .toList();
    }

    /// Room for the longest of the prompts that go on at once, and their answers.
    private CacheSettings cache(List<int[]> prompts, int positions, int answer) {
        if (prompts.isEmpty()) {
            int context = Math.min(positions, request.context());
            return new CacheSettings(context, 1, Math.min(context, ROWS), request.cache(), UNDONE);
        }
        int together = Math.min(prompts.size(), request.batch());
        long tokens =
                prompts.stream()
                        .mapToLong(p -> Math.min(positions, (long) p.length + answer))
                        .sorted()
                        .skip(prompts.size() - together)
                        .sum();
        int rows = (int) Math.min(tokens, Math.max(ROWS, together));
        // One more for what prompts share.
        return new CacheSettings(tokens, together + 1, rows, request.cache(), 0);
    }

    private void one(
            Prompt prompt,
            List<int[]> ids,
            Generator generator,
            Tokenizer tokenizer,
            Progress progress) {
        Pace pace = new Pace(System::nanoTime);
        Generation text = generator.run(ids, new Streamed(console, pace)).getFirst();
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", models.main().toString());
        json.putAll(
                new GenerationReport(prompt.text(), ids.getFirst().length, text, tokenizer).json());
        json.putAll(pace.json());
        console.result("\n", json);
        progress.note(pace.sentence());
    }

    private void batch(
            List<Prompt> prompts,
            List<int[]> ids,
            Generator generator,
            Tokenizer tokenizer,
            Progress progress) {
        Pace pace = new Pace(System::nanoTime);
        Generation[] done = new Generation[prompts.size()];
        List<Object> all = new ArrayList<>();
        GenerationListener inOrder =
                new GenerationListener() {
                    @Override
                    public void token(int prompt, int id) {
                        pace.token(prompt, id);
                    }

                    @Override
                    public void finished(int prompt, Generation generation) {
                        done[prompt] = generation;
                        for (int i = all.size(); i < done.length && done[i] != null; i++) {
                            GenerationReport report =
                                    new GenerationReport(
                                            prompts.get(i).text(),
                                            ids.get(i).length,
                                            done[i],
                                            tokenizer);
                            all.add(report.json());
                            console.piece(report.line() + "\n");
                        }
                    }
                };
        generator.run(ids, inOrder);
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", models.main().toString());
        json.put("generations", all);
        json.putAll(pace.json());
        console.result("", json);
        progress.note(pace.sentence());
    }
}
