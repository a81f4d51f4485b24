// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.IntNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.tensor.DType;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/// `config.json` as typed values. Keys that nothing here knows are kept and written back.
///
/// Every number is read with its range, see [Range]. A value that is not what was asked for is a
/// [FormatException] that names the key; so is null, but for the keys that may be null: whoever
/// reads one of them asks [#has] first.
public final class HfConfig {
    /// Of `max_position_embeddings` and other lengths of sequences.
    public static final Range POSITIONS = Range.upTo(1 << 28);

    private static final String TIED = "tie_word_embeddings";

    private final Path file;
    private final ObjectNode root;
    private final ConfigSection values;

    /// Null for what the file says.
    private final String family;

    private HfConfig(Path file, ObjectNode root) {
        this(new ConfigSection(file, "", root), null);
    }

    private HfConfig(ConfigSection values, String family) {
        this.file = values.file();
        this.root = values.values();
        this.values = values;
        this.family = family;
    }

    /// @throws FormatException where the file is not one JSON object
    public static HfConfig read(Path file) {
        return new HfConfig(file, Json.readObject(file));
    }

    /// Of a file of tensors that has none.
    public static HfConfig none(Path file) {
        return of(file, Json.object());
    }

    /// What a file of another kind says, in the words of `config.json`.
    public static HfConfig of(Path file, ObjectNode values) {
        return new HfConfig(file, values);
    }

    /// Where a model of text and more has what its text decoder is.
    private static final List<String> DECODERS =
            List.of("text_config", "llm_config", "language_config");

    /// The key of the text decoder's own section; empty where the file is the decoder's.
    private Optional<String> decoder() {
        return DECODERS.stream().filter(key -> root.path(key).isObject()).findFirst();
    }

    private boolean wraps() {
        return decoder().isPresent();
    }

    /// Whether the model sees or hears, too.
    public boolean multimodal() {
        return wraps() || has("vision_config") || has("audio_config");
    }

    /// What describes the text decoder: this file, or its section for it. Whether the output layer
    /// is tied may stand outside of the section alone.
    public HfConfig text() {
        if (!wraps()) {
            return this;
        }
        String key = decoder().orElseThrow();
        ObjectNode section = ((ObjectNode) root.get(key)).deepCopy();
        if (root.has(TIED)) {
            // The whole model's word counts where both have one.
            section.set(TIED, root.get(TIED));
        }
        return new HfConfig(values.within(key, section), family);
    }

    /// A copy whose text decoder is described by `changed`, made of [#text] by other values of some
    /// keys; where the file says the same outside of the section, it changes, too.
    public HfConfig withText(HfConfig changed) {
        if (!wraps()) {
            return changed;
        }
        ObjectNode before = text().root;
        ObjectNode copy = root.deepCopy();
        ObjectNode section = (ObjectNode) copy.get(decoder().orElseThrow());
        changed.root
                .properties()
                .forEach(entry -> {
                    String key = entry.getKey();
                    if (!entry.getValue().equals(before.get(key))) {
                        section.set(key, entry.getValue().deepCopy());
                        if (copy.has(key)) {
                            copy.set(key, entry.getValue().deepCopy());
                        }
                    }
                });
        before.fieldNames()
                .forEachRemaining(key -> {
                    if (!changed.root.has(key)) {
                        section.remove(key);
                    }
                });
        return new HfConfig(values.with(copy), family);
    }

    /// Where it stands.
    public Path file() {
        return file;
    }

    /// The family that it is read as: its own, or the one that [#treatedAs(String)] named.
    public String modelType() {
        return family == null ? ownModelType() : family;
    }

    /// What the file says.
    public String ownModelType() {
        return values.text("model_type");
    }

    /// The same file read as another family's; it is written as it is.
    ///
    /// @param modelType null for its own
    public HfConfig treatedAs(String modelType) {
        return new HfConfig(values, modelType);
    }

    /// What [#treatedAs(String)] named; empty where it is read as what it says.
    public Optional<String> treatedAs() {
        return Optional.ofNullable(family);
    }

    /// The same, whose keys are reported when they are asked for, those of sections with their
    /// path.
    public HfConfig watched(Consumer<String> asked) {
        return new HfConfig(values.watched(asked), family);
    }

    public List<String> architectures() {
        return texts("architectures");
    }

    /// Whether the key is there and not null.
    public boolean has(String key) {
        return values.has(key);
    }

    /// Whether the key is there, be it null.
    public boolean mentions(String key) {
        return values.mentions(key);
    }

    public int integer(String key, Range range) {
        return values.integer(key, range);
    }

    public int integer(String key, Range range, int absent) {
        return values.integer(key, range, absent);
    }

    public int integer(String key) {
        return values.integer(key, Range.WHOLE);
    }

    public int integer(String key, int absent) {
        return values.integer(key, Range.WHOLE, absent);
    }

    public double decimal(String key, Range range, double absent) {
        return values.decimal(key, range, absent);
    }

    public double decimal(String key, double absent) {
        return values.decimal(key, Range.ANY, absent);
    }

    public boolean flag(String key, boolean absent) {
        return values.flag(key, absent);
    }

    public String text(String key, String absent) {
        return values.text(key, absent);
    }

    /// Empty where absent; a single number is a list of one, as in `eos_token_id`.
    public List<Integer> integers(String key) {
        return values.integers(key, Range.WHOLE);
    }

    /// Empty where absent; a single string is a list of one.
    public List<String> texts(String key) {
        return values.texts(key);
    }

    /// Empty where absent.
    public List<Double> decimals(String key, Range range) {
        return has(key) ? Arrays.stream(values.decimals(key, range)).boxed().toList() : List.of();
    }

    /// An object within it as a config of its own; empty where absent.
    public Optional<HfConfig> within(String key) {
        return has(key) ? Optional.of(new HfConfig(values.section(key), family)) : Optional.empty();
    }

    /// An object within it, null in which is as good as nothing; empty where absent.
    public Optional<ConfigSection> section(String key) {
        return values.optional(key);
    }

    /// `dtype` or `torch_dtype`; F32 where absent, null or `auto`.
    public DType dtype() {
        String key = has("dtype") ? "dtype" : "torch_dtype";
        String name = has(key) ? values.text(key) : "auto";
        return switch (name.startsWith("torch.") ? name.substring(6) : name) {
            case "float32", "float", "auto" -> DType.F32;
            case "float16", "half" -> DType.F16;
            case "bfloat16" -> DType.BF16;
            default -> throw wrong(key, "float32, float16 or bfloat16");
        };
    }

    /// The rotation of all layers, or of those with full attention where layers differ.
    public RopeConfig rope(RopeConfig.Defaults absent) {
        return rope("full_attention", absent);
    }

    /// The rotation of layers of one type.
    ///
    /// @param layerType `full_attention` or `sliding_attention`, as in `layer_types`
    /// @throws UserException where it is scaled in a way that llmc does not know
    public RopeConfig rope(String layerType, RopeConfig.Defaults absent) {
        String type = has("model_type") ? modelType() : "";
        return new RopeReader(values, type, absent).read(layerType);
    }

    /// `quantization_config`, or `compression_config` as it was first called.
    public Optional<ObjectNode> quantization() {
        return quantizationSection().map(section -> section.values().deepCopy());
    }

    public Optional<ConfigSection> quantizationSection() {
        String key = values.firstOf("quantization_config", "compression_config");
        return has(key) ? Optional.of(values.section(key)) : Optional.empty();
    }

    /// A copy with another value under `key`, which keeps its place; a null removes the key.
    public HfConfig with(String key, JsonNode value) {
        ObjectNode copy = root.deepCopy();
        if (value == null) {
            copy.remove(key);
        } else {
            copy.set(key, value.deepCopy());
        }
        return new HfConfig(values.with(copy), family);
    }

    /// A copy with the value of a key under another, unless that is there, too; the same where the
    /// key is not there.
    public HfConfig renamed(String from, String to) {
        if (!has(from)) {
            return this;
        }
        JsonNode value = has(to) ? root.get(to) : root.get(from);
        return with(to, value).with(from, null);
    }

    /// As [#with(String, JsonNode)].
    public HfConfig with(String key, int value) {
        return with(key, IntNode.valueOf(value));
    }

    /// A copy of everything.
    public ObjectNode json() {
        return root.deepCopy();
    }

    /// Two spaces, keys in their order, a newline at the end: the same bytes for the same values.
    public void write(Path file) {
        Json.write(file, root);
    }

    /// @param expected as in "a number above 0"
    public FormatException wrong(String key, String expected) {
        return values.wrong(key, expected);
    }
}
