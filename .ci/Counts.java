// SPDX-License-Identifier: Apache-2.0

import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.IdentifierTree;
import com.sun.source.tree.MemberSelectTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.TreeScanner;
import com.sun.source.util.Trees;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import javax.lang.model.element.Modifier;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/// How large the house is: the counts that docs/adr keeps, of the main code below a directory.
///
///     java .ci/Counts.java [CHECKOUT]
///
/// Code lines are those that are neither blank nor comment. Kernels (backend.cpu and the modules of devices) may take many
/// parameters; so may constructors and records, which are one value.
final class Counts {
    /// Kinds of what a decoder block is made of, as data and at work, today's names and those before ADR 11. A file outside
    /// `arch` that names one knows what it looks like inside.
    private static final List<String> BODIES =
            List.of("AttentionLayer", "SelfAttentionSpec", "Mlp", "MlpSpec", "Experts", "ExpertsSpec");

    private static final int MOST_PARAMETERS = 7;
    private static final int MOST_LINES = 400;

    private final Path root;
    private final Map<String, Integer> filesOf = new TreeMap<>();
    private final Map<String, Set<Path>> naming = new TreeMap<>();
    private final List<String> wide = new ArrayList<>();
    private final List<String> tall = new ArrayList<>();
    private int files;
    private int code;
    private int comments;
    private int types;
    private int publicTypes;

    private Counts(Path root) {
        this.root = root;
    }

    public static void main(String[] args) throws IOException {
        new Counts(Path.of(args.length > 0 ? args[0] : ".").toRealPath()).run();
    }

    private void run() throws IOException {
        List<Path> sources;
        try (Stream<Path> all = Files.walk(root)) {
            sources = all.filter(p -> {
                        String name = root.relativize(p).toString();
                        return name.contains("src/main/java/") && name.endsWith(".java") && !name.endsWith("-info.java");
                    })
                    .sorted()
                    .toList();
        }
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        try (var manager = compiler.getStandardFileManager(null, null, null)) {
            JavacTask task = (JavacTask)
                    compiler.getTask(null, manager, _ -> {}, List.of("-proc:none"), null, manager.getJavaFileObjectsFromPaths(sources));
            SourcePositions positions = Trees.instance(task).getSourcePositions();
            for (CompilationUnitTree unit : task.parse()) {
                count(unit, positions);
            }
        }
        print();
    }

    private void count(CompilationUnitTree unit, SourcePositions positions) throws IOException {
        Path file = Path.of(unit.getSourceFile().toUri());
        String home = unit.getPackageName().toString();
        filesOf.merge(home, 1, Integer::sum);
        files++;
        for (String line : Files.readAllLines(file)) {
            String text = line.strip();
            if (text.startsWith("//") || text.startsWith("/*") || text.startsWith("*")) {
                comments++;
            } else if (!text.isEmpty()) {
                code++;
            }
        }
        boolean kernels = home.contains("backend.cpu") || home.startsWith("io.llmc.gpu");
        unit.accept(
                new TreeScanner<Void, String>() {
                    @Override
                    public Void visitClass(ClassTree type, String outer) {
                        String name = outer + type.getSimpleName();
                        long lines = line(unit, positions.getEndPosition(unit, type)) - line(unit, positions.getStartPosition(unit, type)) + 1;
                        if (outer.isEmpty()) {
                            types++;
                            publicTypes += type.getModifiers().getFlags().contains(Modifier.PUBLIC) ? 1 : 0;
                            if (lines > MOST_LINES) {
                                tall.add("%s %d".formatted(name, lines));
                            }
                        }
                        return super.visitClass(type, name + ".");
                    }

                    @Override
                    public Void visitMethod(MethodTree method, String outer) {
                        boolean constructor = method.getReturnType() == null;
                        if (!kernels && !constructor && method.getParameters().size() > MOST_PARAMETERS) {
                            wide.add("%s%s %d".formatted(outer, method.getName(), method.getParameters().size()));
                        }
                        return super.visitMethod(method, outer);
                    }

                    @Override
                    public Void visitIdentifier(IdentifierTree name, String outer) {
                        body(name.getName().toString(), file);
                        return super.visitIdentifier(name, outer);
                    }

                    @Override
                    public Void visitMemberSelect(MemberSelectTree name, String outer) {
                        body(name.getIdentifier().toString(), file);
                        return super.visitMemberSelect(name, outer);
                    }
                },
                "");
        for (Tree type : unit.getTypeDecls()) {
            if (type instanceof ClassTree c) {
                body(c.getSimpleName().toString(), file);
            }
        }
    }

    private void body(String name, Path file) {
        if (BODIES.contains(name) && !file.getParent().endsWith("arch")) {
            naming.computeIfAbsent(name, _ -> new HashSet<>()).add(file);
        }
    }

    private static long line(CompilationUnitTree unit, long position) {
        return unit.getLineMap().getLineNumber(position);
    }

    private void print() {
        String largest = filesOf.entrySet().stream()
                .filter(e -> !e.getKey().equals("io.llmc.backend.cpu"))
                .max(Comparator.comparingInt(Map.Entry::getValue))
                .map(e -> e.getValue() + " in " + e.getKey())
                .orElse("none");
        System.out.printf("files                                 %d%n", files);
        System.out.printf("code lines                            %d%n", code);
        System.out.printf("comment lines a code line             %.2f%n", comments / (double) code);
        System.out.printf("public types                          %.0f %%%n", 100.0 * publicTypes / types);
        System.out.printf("largest package without backend.cpu   %s%n", largest);
        naming.forEach((name, where) -> System.out.printf("files that name %-21s %d%n", name, where.size()));
        System.out.printf("methods of more than %d parameters     %d %s%n", MOST_PARAMETERS, wide.size(), wide);
        System.out.printf("types of more than %d lines          %d %s%n", MOST_LINES, tall.size(), tall);
    }
}
