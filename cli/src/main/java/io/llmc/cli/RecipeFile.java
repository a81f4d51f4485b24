// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import org.yaml.snakeyaml.DumperOptions;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;
import org.yaml.snakeyaml.error.MarkedYAMLException;
import org.yaml.snakeyaml.error.YAMLException;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;
import org.yaml.snakeyaml.nodes.Tag;

/// Recipes in YAML. Plain values only: no types, no aliases, and a key once; every key keeps its
/// line.
final class RecipeFile {
    private static final int MAX_CHARACTERS = 1 << 20;
    private static final int MAX_DEPTH = 20;

    private final String file;
    private final Map<String, String> places = new HashMap<>();

    private RecipeFile(String file) {
        this.file = file;
    }

    /// @throws RecipeException naming file and line of what is not YAML
    static RecipeTree read(Path path) {
        String text;
        try {
            text = Files.readString(path);
        } catch (NoSuchFileException e) {
            throw new UserException(
                    path + ": no such file", "llmc quantize --print-recipe shows a recipe");
        } catch (CharacterCodingException e) {
            throw new RecipeException(path.toString(), "is not a text in UTF-8");
        } catch (IOException e) {
            throw new UncheckedIOException(path + ": cannot be read: " + e.getMessage(), e);
        }
        return new RecipeFile(path.toString())
                .parse(text, "is not a recipe; expected model, output and steps");
    }

    /// One value as in a recipe: `3`, `true`, `[a, b]`.
    static Object value(String text, String place) {
        RecipeFile reader = new RecipeFile(place);
        Node node = reader.compose(text);
        return node == null ? "" : reader.convert(node, "", 0);
    }

    static String write(Map<String, Object> tree) {
        DumperOptions style = new DumperOptions();
        style.setDefaultFlowStyle(DumperOptions.FlowStyle.BLOCK);
        style.setIndent(2);
        style.setIndicatorIndent(2);
        style.setIndentWithIndicator(true);
        return new Yaml(style).dump(tree);
    }

    /// A file of keys that is no recipe, as what reads it strictly.
    ///
    /// @param file names it in errors
    static Options options(String file, String text) {
        return new RecipeFile(file).parse(text, "holds no keys; expected a mapping").options();
    }

    private RecipeTree parse(String text, String otherwise) {
        if (!(compose(text) instanceof MappingNode node)) {
            throw new RecipeException(file, otherwise);
        }
        return new RecipeTree(file, mapping(node, "", 0), places);
    }

    private Node compose(String text) {
        LoaderOptions limits = new LoaderOptions();
        limits.setCodePointLimit(MAX_CHARACTERS);
        limits.setNestingDepthLimit(MAX_DEPTH);
        limits.setMaxAliasesForCollections(0);
        try {
            return new Yaml(new SafeConstructor(limits)).compose(new StringReader(text));
        } catch (MarkedYAMLException e) {
            String line = e.getProblemMark() == null ? file : at(e.getProblemMark().getLine());
            throw new RecipeException(line, "is not YAML: " + e.getProblem());
        } catch (YAMLException e) {
            throw new RecipeException(file, "is not YAML: " + e.getMessage());
        }
    }

    private Object convert(Node node, String path, int depth) {
        if (depth > MAX_DEPTH) {
            throw new RecipeException(at(node), "is nested more than %d deep".formatted(MAX_DEPTH));
        }
        return switch (node) {
            case MappingNode mapping -> mapping(mapping, path, depth);
            case SequenceNode sequence -> sequence(sequence, path, depth);
            case ScalarNode scalar when scalar.getTag().getValue().startsWith("!") ->
                    throw new RecipeException(
                            at(node),
                            "%s %s is no plain value"
                                    .formatted(scalar.getTag().getValue(), scalar.getValue()));
            case ScalarNode scalar -> scalar(scalar);
            default -> throw new RecipeException(at(node), "expected a value, a list or a mapping");
        };
    }

    private SequencedMap<String, Object> mapping(MappingNode node, String path, int depth) {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        for (NodeTuple entry : node.getValue()) {
            if (!(entry.getKeyNode() instanceof ScalarNode key)) {
                throw new RecipeException(at(entry.getKeyNode()), "a key must be a word");
            }
            String name = Options.camel(key.getValue());
            String place = path.isEmpty() ? name : path + "." + name;
            if (map.containsKey(name)) {
                throw new RecipeException(at(key), "%s stands here twice".formatted(name));
            }
            places.put(place, at(key));
            map.put(name, convert(entry.getValueNode(), place, depth + 1));
        }
        return map;
    }

    private List<Object> sequence(SequenceNode node, String path, int depth) {
        List<Object> list = new ArrayList<>();
        for (Node item : node.getValue()) {
            String place = path + "." + list.size();
            places.put(place, at(item));
            list.add(convert(item, place, depth + 1));
        }
        return list;
    }

    /// Numbers, `true`, `false` and nothing; all else is text, `2:4` and `off` too, which YAML 1.1
    /// took for a number and a truth value.
    private static Object scalar(ScalarNode node) {
        String text = node.getValue();
        Tag tag = node.getTag();
        if (tag.equals(Tag.NULL)) {
            return null;
        }
        if (tag.equals(Tag.BOOL) && (text.equals("true") || text.equals("false"))) {
            return Boolean.valueOf(text);
        }
        if (tag.equals(Tag.INT) && text.matches("[-+]?[0-9]{1,18}")) {
            return Long.valueOf(text);
        }
        if (tag.equals(Tag.FLOAT) && text.matches("[-+]?[0-9.]+([eE][-+]?[0-9]+)?")) {
            return Double.valueOf(text);
        }
        return text;
    }

    private String at(Node node) {
        return at(node.getStartMark().getLine());
    }

    private String at(int line) {
        return file.startsWith("--") ? file : file + ":" + (line + 1);
    }
}
